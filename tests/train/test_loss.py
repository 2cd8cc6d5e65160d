"""The loss: the same number and the same gradient however the rows are laid out in memory."""

from __future__ import annotations

import random

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from kitae.chat import Encoded, Span
from kitae.train.batches import IGNORED, Plan, collate, in_batches, layout
from kitae.train.loss import LabelledLoss, SummedCrossEntropy, shared_prefix

VOCABULARY = 97


@pytest.fixture
def model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        attn_implementation="eager",
    )
    return LlamaForCausalLM(config)


def rows(count: int, seed: int = 0, prefix: int = 12) -> list[Encoded]:
    rng = random.Random(seed)
    head = [rng.randrange(VOCABULARY) for _ in range(prefix)]
    made = []
    for i in range(count):
        prompt = [*head, *(rng.randrange(VOCABULARY) for _ in range(rng.randint(1, 20)))]
        answer = [rng.randrange(VOCABULARY) for _ in range(rng.randint(1, 9))]
        ids, start = [*prompt, *answer, 5], len(prompt)
        mask = [False] * start + [True] * len(answer) + [False]
        made.append(Encoded(ids, mask, [Span(start, start + len(answer))], f"row {i}"))
    return made


def reference(model: LlamaForCausalLM, sequences: list[Encoded]) -> torch.Tensor:
    """One row at a time, with the library's own cross-entropy over all logits."""
    total = torch.zeros(())
    for row in sequences:
        ids = torch.tensor([row.ids])
        labels = torch.tensor([t if m else IGNORED for t, m in zip(row.ids, row.loss_mask, strict=True)])
        logits = model(input_ids=ids).logits[0, :-1]
        total = total + torch.nn.functional.cross_entropy(logits, labels[1:], ignore_index=IGNORED, reduction="sum")
    return total


def gradient(model: LlamaForCausalLM) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("budget", [16, 64, 100_000])
@pytest.mark.parametrize("prefix", [0, 12])
def test_loss_and_gradient_equal_one_row_at_a_time(model: LlamaForCausalLM, budget: int, prefix: int) -> None:
    sequences = rows(9, prefix=prefix)
    expected = reference(model, sequences)
    expected.backward()
    wanted = gradient(model)
    model.zero_grad()
    loss = LabelledLoss(model)
    total = torch.zeros(())
    for batch in in_batches(sequences, budget):
        part = loss(batch)
        part.backward()
        total += part.detach()
    assert total.item() == pytest.approx(expected.item(), rel=1e-5)
    assert torch.allclose(gradient(model), wanted, atol=1e-4, rtol=1e-3)


def test_a_shared_beginning_is_computed_once(model: LlamaForCausalLM) -> None:
    sequences = rows(6)
    (batch,) = in_batches(sequences, 100_000)
    assert shared_prefix(batch) >= 11
    lengths: list[int] = []
    model.model.register_forward_pre_hook(lambda m, a, k: lengths.append(k["input_ids"].numel()), with_kwargs=True)
    loss = LabelledLoss(model)
    loss(batch)
    assert loss.shares
    lengths.clear()
    loss(batch)
    assert sum(lengths) < batch.input_ids.numel()


def test_a_model_that_disagrees_is_not_trusted_with_sharing(model: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch) -> None:
    (batch,) = in_batches(rows(6), 100_000)
    loss = LabelledLoss(model)
    plain = loss._plain(batch)
    monkeypatch.setattr(LabelledLoss, "_sharing", lambda self, batch, shared: plain * 1.5)
    assert loss(batch).item() == pytest.approx(plain.item())
    assert loss.shares is False


def test_trying_to_share_draws_no_random_number(model: LlamaForCausalLM) -> None:
    """Else a run that is resumed, and tries again, would go on with other numbers than one that was never stopped."""
    model.config.attention_dropout = 0.3
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = 0.3
    model.train()
    (batch,) = collate(10**6)(rows(3, prefix=16)).micro
    before = torch.get_rng_state()
    loss = LabelledLoss(model)
    assert loss._agrees(batch, 16)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training


def test_the_first_label_is_never_swallowed_by_the_shared_part(model: LlamaForCausalLM) -> None:
    """Rows that are alike up to their first label: the token that predicts it must stay with the row."""
    ids = [list(range(20)), [*range(15), 50, 51, 52, 53, 54]]
    sequences = [Encoded(i, [False] * 15 + [True] * 5, [Span(15, 20)]) for i in ids]
    (batch,) = in_batches(sequences, 1000)
    assert shared_prefix(batch) == 14
    assert LabelledLoss(model)(batch).item() == pytest.approx(reference(model, sequences).item(), rel=1e-5)


def test_cross_entropy_matches_the_library() -> None:
    torch.manual_seed(1)
    logits = torch.randn(150, 33, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(0, 33, (150,))
    expected = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
    (wanted,) = torch.autograd.grad(expected, logits)
    ours = SummedCrossEntropy.apply(logits, targets)
    (found,) = torch.autograd.grad(ours, logits)
    assert ours.item() == pytest.approx(expected.item(), rel=1e-6)
    assert torch.allclose(found, wanted, atol=1e-6)


def test_plan_covers_every_row_once_an_epoch_and_depends_on_nothing_else() -> None:
    lengths = [random.Random(i).randint(5, 300) for i in range(200)]
    plan = Plan(lengths, 512, epochs=2, seed=3)
    seen = [i for step in plan.steps for i in step]
    assert sorted(seen) == sorted([*range(200), *range(200)])
    assert plan.steps == Plan(lengths, 512, epochs=2, seed=3).steps
    assert plan.steps != Plan(lengths, 512, epochs=2, seed=4).steps
    assert all(len(step) == 1 or max(lengths[i] for i in step) * len(step) <= 512 for step in plan.steps)


def test_micro_batches_hold_all_labels_of_the_step() -> None:
    sequences = rows(10)
    step = collate(64)(sequences)
    assert step.labelled == sum(row.labelled for row in sequences)
    assert sorted(step.rows) == sorted(row.source for row in sequences)
    assert [sequences[i].source for group in layout(sequences, 64) for i in group] == step.rows
    assert len(step.micro) > 1
