"""New-LLM: all solvers find the contexts that a walk through time finds, and transformers treats it like any model."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings, strategies as st

from kitae.models.newllm.config import CELLS as ALL, NewLLMConfig
from kitae.models.newllm.delta import delta_scan
from kitae.models.newllm.modeling import NewLLMForCausalLM
from kitae.models.newllm.scan import linear_scan
from kitae.models.newllm.solve import SolverPlan

IMPROVED = ("gated", "residual", "matrix")
CELLS = tuple(cell for cell in ALL if cell != "gru")  # a gru has no passes
WALK = SolverPlan("sequential")


def model(cell: str = "gated", seed: int = 0, **settings: object) -> NewLLMForCausalLM:
    torch.manual_seed(seed)
    if cell == "gru":
        settings = {"blocks": [1, 1]} | settings
    shape = {"vocab_size": 97, "hidden_size": 48, "cell": cell, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
    config = NewLLMConfig(**{**shape, **settings})
    return NewLLMForCausalLM(config).eval()


def tokens(rows: int, length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(3, 97, (rows, length), generator=torch.Generator().manual_seed(seed))


def contexts(network: NewLLMForCausalLM, ids: torch.Tensor, plan: SolverPlan) -> torch.Tensor:
    with torch.no_grad(), network.model.solving(plan) as solutions:
        network(ids)
        return torch.cat([solution.contexts for solution in solutions], dim=-1)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3), st.integers(1, 40), st.integers(1, 5), st.integers(0, 10**6))
def test_scan_is_the_recurrence(batch: int, time: int, width: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, time, width)
    a = torch.rand(shape, generator=generator, dtype=torch.float64).requires_grad_()
    b = torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
    start = torch.randn((batch, width), generator=generator, dtype=torch.float64).requires_grad_()
    weights = torch.randn(shape, generator=generator, dtype=torch.float64)
    state, walked = start, []
    for t in range(time):
        state = a[:, t] * state + b[:, t]
        walked.append(state)
    expected = torch.stack(walked, dim=1)
    found = linear_scan(a, b, start)
    torch.testing.assert_close(found, expected)
    for ours, theirs in zip(
        torch.autograd.grad((found * weights).sum(), (a, b, start)),
        torch.autograd.grad((expected * weights).sum(), (a, b, start)),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


def solvers(cell: str) -> tuple[str, ...]:
    return ("gate-scan",) if cell == "matrix" else ("gate-scan", "newton", "jacobi")


@pytest.mark.parametrize(("cell", "solver"), [(cell, solver) for cell in IMPROVED for solver in solvers(cell)[:2]])
def test_parallel_contexts_are_the_walked_ones(cell: str, solver: str) -> None:
    network, ids = model(cell), tokens(2, 1024)
    walked = contexts(network, ids, WALK)
    assert (contexts(network, ids, SolverPlan(solver, 16)) - walked).abs().max() <= 1e-4


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell not in ("mingru", "matrix")])
def test_jacobi_gets_one_token_further_with_each_pass(cell: str) -> None:
    network, ids = model(cell, blocks=[1]), tokens(2, 24)
    walked = contexts(network, ids, WALK)
    half = contexts(network, ids, SolverPlan("jacobi", 12))
    torch.testing.assert_close(half[:, :12], walked[:, :12], atol=1e-4, rtol=0)
    assert (half - walked)[:, 12].abs().max() > 1e-6  # and not one more
    torch.testing.assert_close(contexts(network, ids, SolverPlan("jacobi", 24)), walked, atol=1e-4, rtol=0)


@pytest.mark.parametrize("cell", IMPROVED)
def test_gradients_are_those_of_a_walk(cell: str) -> None:
    network, ids = model(cell), tokens(2, 256)

    def gradient(plan: SolverPlan) -> torch.Tensor:
        with network.model.solving(plan):
            loss = network(ids, labels=ids).loss
        found = torch.autograd.grad(loss, list(network.parameters()), materialize_grads=True)
        return torch.cat([g.flatten() for g in found])

    walked = gradient(WALK)
    assert torch.cosine_similarity(gradient(SolverPlan("gate-scan", 8)), walked, dim=0) >= 0.999
    assert torch.cosine_similarity(gradient(SolverPlan("gate-scan", 1)), walked, dim=0) < 0.999


def test_passes_end_when_nothing_changes_any_more() -> None:
    network, ids = model(), tokens(2, 128)
    with torch.no_grad(), network.model.solving(SolverPlan("gate-scan", 64, 1e-4)) as solutions:
        network(ids)
        assert all(2 <= solution.passes <= 15 and solution.change.max() < 1e-8 for solution in solutions)


def test_contexts_that_do_not_settle_are_walked(capsys: pytest.CaptureFixture[str]) -> None:
    network, ids = model("seed-gated"), tokens(2, 64)
    walked = contexts(network, ids, WALK)
    assert not torch.allclose(contexts(network, ids, SolverPlan("gate-scan", 8)), walked, atol=1e-2)
    with torch.no_grad(), network.model.solving(SolverPlan("gate-scan", 8, 1e-5)) as solutions:
        network(ids)
        assert all(solution.unsettled for solution in solutions)
        assert torch.equal(torch.cat([solution.contexts for solution in solutions], dim=-1), walked)
    assert capsys.readouterr().err.count("did not settle") == 1


def test_no_number_is_never_learned_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passes that blow up, as they do where slopes over 1 aren't held back, are replaced by a walk."""
    network, ids = model("seed-residual", blocks=[1]), tokens(2, 512)
    monkeypatch.setattr("kitae.models.newllm.solve._STEEPEST", 1e9)
    network.train()
    for weights in network.model.blocks[0].cell.parameters():
        weights.data *= 4
    with network.model.solving(SolverPlan("gate-scan", 6)) as solutions:
        loss = network(ids, labels=ids).loss
        assert solutions[0].unsettled
    loss.backward()
    assert all(weights.grad is None or weights.grad.isfinite().all() for weights in network.parameters())


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 2), st.integers(1, 3), st.integers(1, 80), st.integers(1, 6), st.integers(0, 10**6))
def test_chunks_of_the_delta_rule_are_the_rule(batch: int, heads: int, time: int, width: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    query, key, value = (noise(batch, heads, time, width) for _ in range(3))
    key = torch.nn.functional.normalize(key, dim=-1)
    keep, write = -noise(batch, heads, time).exp(), 2 * noise(batch, heads, time).sigmoid()
    state = start = noise(batch, heads, width, width)
    readings = []
    for t in range(time):
        k, v, q = key[:, :, t, :, None], value[:, :, t, None], query[:, :, t, None]
        kept, written = keep[:, :, t, None, None].exp(), write[:, :, t, None, None]
        state = kept * (state - written * k @ (k.transpose(-1, -2) @ state)) + written * k @ v
        readings.append(q @ state)
    found, end = delta_scan(query, key, value, keep, write, start)
    torch.testing.assert_close(found, torch.cat(readings, dim=2))
    torch.testing.assert_close(end, state)


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(IMPROVED),
    st.lists(st.integers(1, 3), min_size=1, max_size=3),
    st.sampled_from([8, 24]),
    st.sampled_from([5, 40]),
    st.integers(1, 90),
    st.floats(1.0, 2000.0),
    st.integers(0, 10**6),
)
def test_any_model_any_length(
    cell: str, blocks: list[int], width: int, context: int, length: int, memory: float, seed: int
) -> None:
    shape = {"blocks": blocks, "hidden_size": width, "context_size": context, "longest_memory": memory, "heads": context // 5}
    network, ids = model(cell, seed, **shape), tokens(2, length, seed)
    walked = contexts(network, ids, WALK)
    for solver in solvers(cell):
        plan = SolverPlan("jacobi", length) if solver == "jacobi" else SolverPlan(solver, 64, 1e-6)
        with torch.no_grad(), network.model.solving(plan) as solutions:
            network(ids)
            assert not any(solution.unsettled for solution in solutions)  # or a walk would be compared with itself
            found = torch.cat([solution.contexts for solution in solutions], dim=-1)
        assert (found - walked).abs().max() <= 1e-4


@pytest.mark.parametrize("cell", IMPROVED)
@pytest.mark.parametrize("kind", ["float16", "bfloat16", "autocast"])
def test_half_precision_settles_too(cell: str, kind: str) -> None:
    network, ids = model(cell), tokens(4, 256)
    if kind != "autocast":
        network = network.to(getattr(torch, kind))
    rounded = torch.autocast("cpu", torch.bfloat16) if kind == "autocast" else contextlib.nullcontext()
    with torch.no_grad(), rounded, network.model.solving(SolverPlan("gate-scan", 64, 1e-5)) as solutions:
        network(ids)
        assert all(not solution.unsettled and solution.passes <= 12 for solution in solutions)
        assert all(solution.contexts.dtype == torch.float32 for solution in solutions)


@pytest.mark.parametrize("cell", ALL)
def test_half_precision_generates(cell: str) -> None:
    network = model(cell).to(torch.bfloat16)
    assert network.generate(tokens(2, 6), max_new_tokens=3, do_sample=False).shape[1] <= 9
    padded = torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]])
    assert network(tokens(2, 6), attention_mask=padded).logits.isfinite().all()


def test_gates_that_do_not_see_contexts_need_one_pass() -> None:
    network, ids = model("mingru"), tokens(2, 100)
    walked = contexts(network, ids, WALK)
    with torch.no_grad(), network.model.solving(SolverPlan("gate-scan", 5)) as solutions:
        network(ids)
        assert [solution.passes for solution in solutions] == [1, 1]
        torch.testing.assert_close(torch.cat([solution.contexts for solution in solutions], dim=-1), walked)


def test_dropped_blocks_and_readings_are_dropped_in_training_only() -> None:
    for setting in ({"block_dropout": 0.5}, {"dropout": 0.5}):
        network, ids = model(**setting), tokens(1, 8)
        assert torch.equal(network(ids).logits, network(ids).logits)
        network.train()
        assert len({float(network(ids).logits.detach().sum()) for _ in range(20)}) > 1


@pytest.mark.parametrize("before", [0, 2, 5])
@pytest.mark.parametrize("cell", ALL)
def test_padding_changes_nothing(cell: str, before: int) -> None:
    network, ids = model(cell), tokens(2, 20)
    padded = torch.cat([torch.full((2, before), 2), ids, torch.full((2, 5 - before), 2)], dim=1)
    real = slice(before, before + 20)
    mask = torch.zeros(2, 25).long()
    mask[:, real] = 1
    found, expected = network(padded, attention_mask=mask, use_cache=True), network(ids, use_cache=True)
    torch.testing.assert_close(found.logits[:, real], expected.logits, atol=1e-5, rtol=0)
    following = tokens(2, 1, seed=9)
    torch.testing.assert_close(
        network(following, past_key_values=found.past_key_values).logits,
        network(following, past_key_values=expected.past_key_values).logits,
        atol=1e-5,
        rtol=0,
    )


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("cell", ALL)
def test_generation_with_a_cache_is_generation_without(cell: str, beams: int) -> None:
    network, ids = model(cell), tokens(3, 16)
    network.model.plan = WALK

    def answers(cached: bool) -> list[list[int]]:
        found = network.generate(ids, max_new_tokens=12, num_beams=beams, do_sample=False, use_cache=cached)
        return found.tolist()

    assert answers(True) == answers(False)


def test_the_cache_does_not_grow() -> None:
    network = model()
    cache = network(tokens(1, 8), use_cache=True).past_key_values
    before = [layer.state.context.numel() for layer in cache.layers]
    for step in range(20):
        network(tokens(1, 1, seed=step), past_key_values=cache, use_cache=True)
    assert [layer.state.context.numel() for layer in cache.layers] == before
    assert cache.get_seq_length() == 28


def test_a_prompt_may_come_in_pieces() -> None:
    network, ids = model(), tokens(2, 60)
    cache = network(ids[:, :25], use_cache=True).past_key_values
    rest = network(ids[:, 25:], past_key_values=cache, use_cache=True).logits
    torch.testing.assert_close(rest, network(ids).logits[:, 25:], atol=1e-4, rtol=0)


@pytest.mark.slow(14)
def test_saved_and_loaded_by_transformers_that_know_it(tmp_path: Path) -> None:
    network = model()
    for weights in network.parameters():  # nothing is as it was made, so nothing may be made anew
        weights.data += 0.1 * torch.randn_like(weights)
    network.save_pretrained(tmp_path / "m")
    torch.save(network(tokens(1, 9)).logits, tmp_path / "logits.pt")
    for first, second in (("kitae", "transformers"), ("transformers", "kitae"), ("kitae", "kitae.models.newllm.modeling")):
        code = (
            f"import {first}, {second}, torch; kitae.register_newllm();"
            "from transformers import AutoConfig, AutoModelForCausalLM;"
            f"assert AutoConfig.from_pretrained('{tmp_path}/m').blocks == [2, 2];"
            f"m = AutoModelForCausalLM.from_pretrained('{tmp_path}/m').eval();"
            "ids = torch.randint(3, 97, (1, 9), generator=torch.Generator().manual_seed(0));"
            f"assert torch.equal(m(ids).logits, torch.load('{tmp_path}/logits.pt'))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        unasked = code.replace("kitae.register_newllm();", "kitae.register_newllm;")
        assert subprocess.run([sys.executable, "-c", unasked], capture_output=True).returncode != 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"blocks": []},
        {"blocks": [0]},
        {"blocks": [2, -1]},
        {"cell": "none"},
        {"cell": "gru", "blocks": [2]},
        {"tolerance": 0.0},
        {"passes": 0},
        {"solver": "none"},
        {"settling": -1.0},
        {"cell": "matrix", "heads": 5},
        {"cell": "matrix", "solver": "jacobi"},
    ],
)
def test_settings_that_make_no_model(wrong: dict[str, object]) -> None:
    with pytest.raises(Exception, match=str([*wrong][-1])):
        NewLLMConfig(**wrong)


def test_one_token() -> None:
    for cell in ALL:
        assert model(cell)(tokens(2, 1)).logits.isfinite().all()
