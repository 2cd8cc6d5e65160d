"""What replaces parts of a model for training gives the same numbers and the same gradients, or leaves the part alone."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from kitae.chat import ChatCodec, Conversation, Encoded, Message, Span
from kitae.core.hardware import computes_in_bf16
from kitae.models import open_model
from kitae.train.attention import CannotIsolate, StripAttention, _attention, allow_strips, attending
from kitae.train.batches import MicroBatch, in_batches
from kitae.train.lean import RootMeanSquareNorm, make_lean
from kitae.train.loss import LabelledLoss, Layout, trial_batch
from kitae.train.strip import strip_of

SHAPE = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
}
MODELS = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE)),
    "llama with biases": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE, attention_bias=True, mlp_bias=True)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SHAPE)),
    "gemma3, whose window is shorter than the rows": lambda: Gemma3ForCausalLM(Gemma3TextConfig(**SHAPE, sliding_window=16)),
    "gemma2, whose scores are capped": lambda: Gemma2ForCausalLM(Gemma2Config(**SHAPE, attn_implementation="eager")),
    "mistral, with a window": lambda: MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=16)),
}
IDS = torch.randint(0, 97, (3, 150), generator=torch.Generator().manual_seed(0))


def adapted(make: str, **settings: object) -> nn.Module:
    torch.manual_seed(0)
    model: PreTrainedModel = MODELS[make]()
    for name, weights in model.named_parameters():
        if "norm" in name:  # at the beginning all are one, or zero, and an error could hide
            nn.init.normal_(weights, mean=float(weights.detach().mean()), std=0.3)
    wanted = {"r": 4, "lora_alpha": 12, "target_modules": "all-linear", "task_type": "CAUSAL_LM"} | settings
    adapter = get_peft_model(model, LoraConfig(**wanted))
    for name, weights in adapter.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(weights, std=0.1)
    return adapter.train()


def agree(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, atol=2e-5 * float(gradient.abs().max()), rtol=1e-3, msg=name)


def replaced(model: nn.Module) -> set[str]:
    return {type(m).__name__ for m in model.modules() if m.forward.__module__ == "kitae.train.lean"}


LENGTHS = (150, 149, 31, 9, 8, 70)


def rows(shared: int) -> list[Encoded]:
    generator = torch.Generator().manual_seed(0)
    begun = torch.randint(0, 97, (shared,), generator=generator).tolist()
    made = []
    for i, length in enumerate(LENGTHS):
        ids = [*begun, *torch.randint(0, 97, (length,), generator=generator).tolist()]
        mask = [False] * (shared + 2) + [True] * (length - 2)
        made.append(Encoded(ids, mask, [Span(shared + 2, len(ids))], f"row {i}"))
    return made


@pytest.mark.parametrize("shared", [0, 20])
@pytest.mark.parametrize("make", MODELS)
def test_a_model_is_the_same(make: str, shared: int) -> None:
    """Rows in a strip, with what was replaced, against the plain model and one row after another."""
    sequences = rows(shared)
    model = adapted(make)
    whole, gradients = learned_from(model, LabelledLoss(model), [[row] for row in sequences])
    allow_strips(model.get_base_model())
    make_lean(model)
    assert len(replaced(model)) == 3  # norms, gated layers and adapters
    loss = LabelledLoss(model)
    loss.try_strip(trial_batch(sequences))
    assert loss.padded == ("gemma2" in make)
    again, now = learned_from(model, loss, [sequences])
    torch.testing.assert_close(again, whole, atol=1e-4, rtol=1e-5)
    agree(now, gradients)


@pytest.mark.parametrize("make", ["llama", "qwen3", "gemma3, whose window is shorter than the rows"])
def test_whole_models_learn_the_same_in_half_precision(make: str) -> None:
    """Weights of fp32 under autocast, where a layer's queries, keys and values come in several types."""
    sequences = rows(20)
    torch.manual_seed(0)
    model = MODELS[make]().train()
    _, exact = learned_from(model, LabelledLoss(model), [[row] for row in sequences])
    found = []
    for strips in (False, True):
        if strips:
            allow_strips(model)
        loss = LabelledLoss(model)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss.try_strip(trial_batch(sequences))
        assert loss.padded is not strips
        _, gradients = learned_from(model, loss, [sequences], half=True)
        found.append(sum(float((gradients[name] - exact[name]).square().sum()) for name in exact) ** 0.5)
    usual, ours = found
    assert ours < 1.5 * usual


TEXT = "the rain over hills when we came home late and nobody had lit a fire so cold"


def spoken(codec: ChatCodec, seed: int) -> list[Encoded]:
    """Conversations of three lengths, of no sense."""
    rng = random.Random(seed)
    found = []
    for count in (6, 9, 150):
        said = (Message(role, " ".join(rng.choices(TEXT.split(), k=count))) for role in ("user", "assistant"))
        found += codec.encode(Conversation(tuple(said)))
    return found


@pytest.mark.slow(9)
@pytest.mark.skipif(not computes_in_bf16("auto"), reason="only where bf16 is what training uses; elsewhere it takes minutes")
def test_rounding_alone_keeps_no_row_out_of_a_strip(starter: Path, codec: ChatCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real model in half precision, whose attention rounds in other places than the usual one does."""
    model = open_model(starter, torch.bfloat16)
    allow_strips(model)
    loss = LabelledLoss(model)
    for seed in range(4):
        loss.padded = True
        loss.try_strip(trial_batch(spoken(codec, seed)))
        assert not loss.padded
    laid_out = LabelledLoss._in_a_strip

    def one_count(self: LabelledLoss, batch: MicroBatch, shared: int) -> Layout:
        targets, chosen, inputs, around = laid_out(self, batch, shared)
        places = torch.arange(inputs["input_ids"].shape[1])[None]
        return targets, chosen, {**inputs, "position_ids": places}, around

    monkeypatch.setattr(LabelledLoss, "_in_a_strip", one_count)  # tokens further from the shared beginning than they are
    loss.try_strip(trial_batch(spoken(codec, 0)))
    assert loss.padded


def learned_from(
    model: nn.Module, loss: LabelledLoss, batches: list[list[Encoded]], half: bool = False
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model.zero_grad()
    total = torch.zeros(())
    for sequences in batches:
        for batch in in_batches(sequences, 10**6, loss.padded):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
                part = loss(batch).sum()
            part.backward()
            total += part.detach()
    return total, {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("settings", [{"use_dora": True}, {"lora_dropout": 0.5}, {"lora_bias": True}])
def test_other_kinds_of_adapters_are_left_alone(settings: dict[str, object]) -> None:
    model = adapted("llama", **settings)
    make_lean(model)
    assert replaced(model) == {"LlamaRMSNorm"}


def test_an_adapter_that_is_switched_off_is_off() -> None:
    model = adapted("llama")
    with model.disable_adapter(), torch.no_grad():
        plain = model(input_ids=IDS).logits
        make_lean(model)
        torch.testing.assert_close(model(input_ids=IDS).logits, plain)
    assert (model(input_ids=IDS).logits - plain).abs().max() > 1e-2


@pytest.mark.parametrize("make", ["llama", "gemma3, whose window is shorter than the rows"])
def test_weights_that_move_are_followed(make: str) -> None:
    """As a trainer does, which takes a model to its device after it was made."""
    model, moved = adapted(make), adapted(make)
    make_lean(moved)
    with torch.no_grad():
        for each in (model, moved):
            for weights in each.parameters():
                weights.data = weights.data * 1.5
        torch.testing.assert_close(moved(input_ids=IDS).logits, model(input_ids=IDS).logits, atol=1e-4, rtol=1e-4)


UNUSUAL = {
    "on another device": {},
    "with dropout in its attention": {"attention_dropout": 0.1},
    "with layers of another kind": {"layer_types": ["full_attention", "chunked_attention"]},
    "told to attend in another way": {"attn_implementation": "eager"},
}


@pytest.mark.parametrize("kind", UNUSUAL)
def test_strips_are_not_for_every_model(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: "device" in kind)
    model = LlamaForCausalLM(LlamaConfig(**SHAPE, **UNUSUAL[kind]))
    wanted = model.config._attn_implementation
    allow_strips(model)
    assert model.config._attn_implementation == wanted
    loss = LabelledLoss(model)
    loss.try_strip(trial_batch(rows(0)))
    assert loss.padded


def test_norms_that_learn_are_left_alone() -> None:
    model = MODELS["llama"]()
    make_lean(model)
    assert not replaced(model)


def test_a_norm_in_half_precision_is_as_exact_as_the_one_it_replaces() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden, slope = (torch.randn(64, 128, generator=generator, dtype=torch.double) * 3 for _ in range(2))
    gain = torch.randn(128, generator=generator, dtype=torch.double)

    def plain(x: torch.Tensor, gain: torch.Tensor, wide: torch.dtype) -> torch.Tensor:
        x_wide = x.to(wide)
        return gain * (x_wide * (x_wide.pow(2).mean(-1, keepdim=True) + 1e-6).rsqrt()).to(x.dtype)

    def both(function: object, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        x = hidden.to(dtype).requires_grad_()
        found = function(x, gain.to(dtype))
        return found.double(), torch.autograd.grad(found, x, slope.to(dtype))[0].double()

    exact = both(lambda x, g: plain(x, g, torch.double), torch.double)
    usual = both(lambda x, g: plain(x, g, torch.float32), torch.bfloat16)
    ours = both(lambda x, g: RootMeanSquareNorm.apply(x, g, 1e-6), torch.bfloat16)
    for mine, theirs, truth in zip(ours, usual, exact, strict=True):
        assert (mine - truth).norm() < 1.5 * (theirs - truth).norm()


@pytest.mark.parametrize("window", [None, 7, 200])
@pytest.mark.parametrize(
    ("shared", "lengths"), [(0, [1]), (0, [5, 6]), (3, [128, 129, 1]), (0, [300]), (40, [7, 8, 300, 290, 2])]
)
def test_attention_in_a_strip(shared: int, lengths: list[int], window: int | None) -> None:
    """Against dense attention under a mask, in double precision."""
    generator = torch.Generator().manual_seed(0)
    row = torch.tensor([-1] * shared + [i for i, length in enumerate(lengths) for _ in range(length)])
    time = torch.tensor([*range(shared), *(shared + t for length in lengths for t in range(length))])

    def draw(heads: int) -> torch.Tensor:
        return torch.randn(len(row), heads, 8, generator=generator, dtype=torch.double, requires_grad=True)

    parts = draw(6), draw(3), draw(3)
    sees = (time[:, None] >= time) & ((row[:, None] == row) | (row < 0))
    if window is not None:
        sees &= time[:, None] - time < window
    queries, keys, values = (x.transpose(0, 1) for x in (parts[0], *(x.repeat_interleave(2, 1) for x in parts[1:])))
    scores = (queries @ keys.transpose(-1, -2) * 0.3).masked_fill(~sees, -torch.inf)
    wanted = (torch.softmax(scores, -1) @ values).transpose(0, 1)
    strip = strip_of([shared + length for length in lengths], shared, row.device)
    found = StripAttention.apply(*parts, strip, 0.3, window)
    torch.testing.assert_close(found, wanted)
    slope = torch.randn(found.shape, generator=generator, dtype=torch.double)
    for mine, theirs in zip(torch.autograd.grad(found, parts, slope), torch.autograd.grad(wanted, parts, slope), strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize(
    "unknown", [{"softcap": 30.0}, {"dropout": 0.1}, {"attention_mask": torch.ones(1, 1, 9, 9)}, {"is_causal": False}]
)
def test_what_a_strip_can_not_do_is_not_done_wrong(unknown: dict[str, object]) -> None:
    module, parts = nn.Module(), [torch.randn(1, 2, 9, 8) for _ in range(3)]
    wanted = {"attention_mask": None, **unknown}
    with attending(strip_of([4, 5], 0, parts[0].device)), pytest.raises(CannotIsolate):
        _attention(module, *parts, **wanted)


def test_rows_of_unlike_length_do_not_stand_side_by_side() -> None:
    lengths = [*[10] * 50, 1500, 1600]
    strip = strip_of(lengths, 3, torch.device("cpu"))
    places = [group.places.numel() if group.places is not None else lengths[-1] for group in strip.groups]
    assert len(places) == 2
    assert sum(places) <= 1.25 * sum(lengths)


def test_strips_are_tried_on_the_longest_row() -> None:
    assert max(trial_batch(rows(0)).lengths) == max(LENGTHS)


def test_outside_of_a_strip_a_model_attends_as_before() -> None:
    """To a cache, and not to padding on the left."""
    model = adapted("llama")
    mask = torch.ones_like(IDS)
    mask[1, :30] = 0
    with torch.no_grad():
        whole, masked = model(input_ids=IDS).logits, model(input_ids=IDS, attention_mask=mask).logits
        allow_strips(model.get_base_model())
        begun = model(input_ids=IDS[:, :40], use_cache=True)
        rest = model(input_ids=IDS[:, 40:], past_key_values=begun.past_key_values, use_cache=True).logits
        again = model(input_ids=IDS, attention_mask=mask).logits
    torch.testing.assert_close(rest, whole[:, 40:], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(again[1, 30:], masked[1, 30:], atol=1e-4, rtol=1e-4)
