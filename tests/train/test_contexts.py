"""Phase 1 of a New-LLM: what its losses mean, and what freezing leaves alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import TrainingArguments

from kitae.chat import Encoded
from kitae.models.newllm.config import NewLLMConfig
from kitae.models.newllm.health import health
from kitae.models.newllm.modeling import NewLLMForCausalLM
from kitae.train.batches import IGNORED, BatchPlan, MicroBatch, Part, Step, collate
from kitae.train.contexts import ContextLoss, add_heads, freeze_contexts, sameness
from kitae.train.trainer import KitaeTrainer


def model(**settings: object) -> NewLLMForCausalLM:
    torch.manual_seed(0)
    return NewLLMForCausalLM(NewLLMConfig(**({"vocab_size": 50, "hidden_size": 32} | settings)))


IDS = torch.randint(0, 50, (8, 32), generator=torch.Generator().manual_seed(0))
LENGTHS = torch.full((8,), 32)
SOURCES = list("abcdefgh")


def whole(ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return ids, torch.ones_like(ids, dtype=torch.bool)


def test_sameness_tells_independent_channels_from_repeated_and_dead_ones() -> None:
    noise = torch.randn(2000, 16, generator=torch.Generator().manual_seed(0))
    independent = sameness(noise)
    assert independent < 0.05
    assert sameness(noise[:, :1].expand(-1, 16)) > 0.9
    assert sameness(torch.cat([noise[:, :8], torch.zeros(2000, 8)], dim=-1)) > independent + 0.4
    torch.testing.assert_close(sameness(noise * 7), independent, atol=0.02, rtol=0)


def test_the_first_head_predicts_the_next_token_and_the_second_the_one_after() -> None:
    network = model(settling=0.0).eval()
    add_heads(network, 2)
    batch = MicroBatch(IDS, IDS, LENGTHS, SOURCES)
    logits = network(IDS).logits  # heads begin as the identity
    expected = torch.zeros(())
    for distance in (1, 2):
        shown = logits[:, :-distance].flatten(0, 1)
        expected = expected + torch.nn.functional.cross_entropy(shown, IDS[:, distance:].flatten(), reduction="sum")
    torch.testing.assert_close(ContextLoss(network, 0.0)(batch).sum(), expected / 2)


def test_frozen_contexts_stay_while_the_output_is_learned() -> None:
    network = model()
    freeze_contexts(network)
    network.train()

    def contexts() -> list[torch.Tensor]:
        with network.model.solving(network.model.current_plan) as solutions:
            network(IDS)
            return [solution.contexts.detach().clone() for solution in solutions]

    before = contexts()
    optimiser = torch.optim.SGD([weights for weights in network.parameters() if weights.requires_grad], lr=1.0)
    first = network(IDS, labels=IDS).loss
    for _ in range(20):
        optimiser.zero_grad()
        network(IDS, labels=IDS).loss.backward()
        optimiser.step()
    assert network(IDS, labels=IDS).loss < first - 0.1
    assert all(torch.equal(old, new) for old, new in zip(before, contexts(), strict=True))


def test_health_tells_found_contexts_from_lost_and_collapsed_ones() -> None:
    good = health(model().eval(), [whole(IDS)])
    assert good.agreement == 1.0
    assert good.converged > 0.9
    assert good.effective_rank > 0.2
    assert good.distance > 0.3
    collapsed = model().eval()
    with torch.no_grad():
        for block in collapsed.model.blocks:  # what enters is always the same, and nothing is kept
            block.cell.heads.weight.zero_()
            block.cell.heads.bias[32:] = 1.0
            block.cell.forget.fill_(-20.0)
    found = health(collapsed, [whole(IDS)])
    assert found.distance < 1e-3
    chaotic = health(model(cell="seed-gated").eval(), [whole(torch.randint(0, 50, (2, 200)))])
    assert chaotic.converged < 0.9
    assert chaotic.passes == 64


def test_padding_says_nothing_about_contexts() -> None:
    network = model(blocks=[2], passes=1).eval()
    padded = MicroBatch(
        torch.cat([IDS, torch.zeros_like(IDS)], dim=1), torch.cat([IDS, 0 * IDS + IGNORED], dim=1), LENGTHS, SOURCES
    )
    expected, found = health(network, [whole(IDS)]), health(network, [(padded.input_ids, padded.real)])
    assert found.as_dict() == pytest.approx(expected.as_dict(), abs=2e-3)
    assert found.converged < 0.9  # padding would be
    network = model(blocks=[2], passes=2, mixing=1.0).train()
    add_heads(network, 2)

    def losses(batch: MicroBatch) -> tuple[torch.Tensor, torch.Tensor]:
        torch.manual_seed(0)
        loss = ContextLoss(network, 1.0)
        return loss(batch).detach(), loss.added[:, : IDS.shape[1]]

    torch.testing.assert_close(losses(padded), losses(MicroBatch(IDS, IDS, LENGTHS, SOURCES)))


def test_contexts_are_learned_with_all_blocks_dropped() -> None:
    network = model(block_dropout=0.99).train()
    add_heads(network, 2)
    loss = ContextLoss(network, 1.0)
    assert all(loss(MicroBatch(IDS, IDS, LENGTHS, SOURCES)).isfinite().all() for _ in range(3))


def test_rows_begin_where_others_end() -> None:
    network = model(mixing=1.0, passes=40)
    network.train()
    mixed = network(IDS[:2], attention_mask=torch.arange(32) < torch.tensor([[32], [9]])).logits
    alone = network(IDS[:1]).logits  # there is no other row
    network.eval()
    torch.testing.assert_close(alone, network(IDS[:1]).logits, atol=1e-4, rtol=0)
    long, short = IDS[0], IDS[1, :9]
    for own, before, found in ((long, short, mixed[0]), (short, long, mixed[1, :9])):
        follows = network(torch.cat([before, own])[None]).logits[0, len(before) :]
        torch.testing.assert_close(found, follows, atol=1e-4, rtol=0)
        assert not torch.allclose(found, network(own[None]).logits[0], atol=1e-2)


def test_what_the_last_pass_still_changed_is_learned_to_be_small() -> None:
    network = model(settling=3.0, passes=2)
    network.train()
    found = network(IDS, labels=IDS)
    plain = torch.nn.functional.cross_entropy(found.logits[:, :-1].flatten(0, 1), IDS[:, 1:].flatten())
    assert found.added_loss.shape == IDS.shape
    assert found.added_loss.min() >= 0
    torch.testing.assert_close(found.loss, plain + found.added_loss.mean())
    first = float(found.added_loss.detach().mean())
    optimiser = torch.optim.SGD(network.parameters(), lr=0.05)
    for _ in range(10):
        optimiser.zero_grad()
        network(IDS).added_loss.mean().backward()
        optimiser.step()
    assert network(IDS).added_loss.mean() < 0.7 * first
    torch.testing.assert_close(model(settling=6.0, passes=2).train()(IDS).added_loss.mean(), torch.tensor(2 * first))
    assert network.eval()(IDS, labels=IDS).added_loss is None


def gradients(
    network: NewLLMForCausalLM, steps: list[Step], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[float, dict[str, torch.Tensor]]:
    """The labels are counted over all of them, as processes would together."""
    labels = torch.tensor(sum(batch.labelled for step in steps for batch in step.micro))
    monkeypatch.setattr("kitae.core.processes.summed", lambda value: value if value.is_floating_point() else labels)
    arguments = TrainingArguments(str(folder), report_to=[], use_cpu=True)
    trainer = KitaeTrainer(network, arguments, ROWS, [], BatchPlan([1], 1, 1, 0), 10**6, torch.float32, [])
    network.zero_grad()
    loss = sum(float(trainer.training_step(network, step)) for step in steps)
    return loss, {name: weights.grad.clone() for name, weights in network.named_parameters() if weights.grad is not None}


def row(number: int, length: int) -> Encoded:
    """All begin alike, as rows with the same system message do."""
    ids = torch.cat([IDS[0, :12], IDS[number, 12:length]]).tolist()
    return Encoded(ids, [False] * 10 + [True] * (length - 10), [], str(number))


ROWS = [row(number, length) for number, length in ((0, 32), (1, 15), (2, 21))]


@pytest.mark.parametrize(
    "pieces",
    [
        [collate(10, True)(ROWS)],
        [collate(10**6, True, Part(part, 2))(ROWS) for part in (0, 1)],
        [collate(10**6, True, Part(part, 5))(ROWS) for part in range(5)],
    ],
    ids=["one row after another", "two processes", "more processes than rows"],
)
def test_a_step_is_the_same_however_it_is_cut(pieces: list[Step], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loss, expected = gradients(model(), [collate(10**6, True)(ROWS)], tmp_path, monkeypatch)
    found_loss, found = gradients(model(), pieces, tmp_path, monkeypatch)
    assert found_loss == pytest.approx(loss, abs=1e-5)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-4)
    settling_aside, _ = gradients(model(settling=0.0), [collate(10**6, True)(ROWS)], tmp_path, monkeypatch)
    assert loss > settling_aside


def test_a_process_without_a_row_learns_no_contexts_from_it() -> None:
    network = model().train()
    add_heads(network, 2)
    loss = ContextLoss(network, 1.0)
    (nothing,) = collate(10**6, True, Part(1, 2))(ROWS[:1]).micro
    assert float(loss(nothing).detach()) == 0
    assert float((loss.added * nothing.real).sum().detach()) == 0
