"""The loss: the same number and the same gradient however the rows are laid out in memory."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import LlamaForCausalLM

from kitae.chat import Encoded, Span
from kitae.train import head as head_module, loss as loss_module
from kitae.train.attention import allow_strips
from kitae.train.batches import IGNORED, BatchPlan, MicroBatch, collate, in_batches, layout
from kitae.train.distillation import TaughtLoss
from kitae.train.head import Labels, Taught, head_losses, logit_losses, some
from kitae.train.loss import LabelledLoss, shared_prefix, trial_batch
from kitae.train.strip import Strip, strip_of

VOCABULARY = 97


@pytest.fixture
def model(network: Callable[..., LlamaForCausalLM]) -> LlamaForCausalLM:
    return network()


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


def trying_strips(model: LlamaForCausalLM, sequences: list[Encoded], wanted: bool = True) -> LabelledLoss:
    if wanted:
        allow_strips(model)
    loss = LabelledLoss(model)
    loss.try_strip(trial_batch(sequences))
    return loss


def gradient(model: LlamaForCausalLM) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("budget", [16, 64, 100_000])
@pytest.mark.parametrize("prefix", [0, 12])
@pytest.mark.parametrize("padded", [True, False])
def test_loss_and_gradient_equal_one_row_at_a_time(model: LlamaForCausalLM, budget: int, prefix: int, padded: bool) -> None:
    sequences = rows(9, prefix=prefix)
    expected = reference(model, sequences)
    expected.backward()
    wanted = gradient(model)
    model.zero_grad()
    loss = trying_strips(model, sequences, not padded)
    assert loss.padded is padded
    total = torch.zeros(())
    for batch in in_batches(sequences, budget, padded):
        part = loss(batch).sum()
        part.backward()
        total += part.detach()
    assert total.item() == pytest.approx(expected.item(), rel=1e-5)
    assert torch.allclose(gradient(model), wanted, atol=1e-4, rtol=1e-3)


def test_a_shared_beginning_is_computed_once(model: LlamaForCausalLM) -> None:
    sequences = rows(6)
    (batch,) = in_batches(sequences, 100_000, padded=False)
    assert shared_prefix(batch) >= 11
    loss = trying_strips(model, sequences)
    loss(batch)
    lengths: list[int] = []
    model.model.register_forward_pre_hook(lambda m, a, k: lengths.append(k["input_ids"].numel()), with_kwargs=True)
    loss(batch)
    whole = sum(len(row.ids) for row in sequences)
    own = whole - 5 * shared_prefix(batch)
    assert lengths == [64 * math.ceil(own / 64)] != [64 * math.ceil(whole / 64)]


def test_a_model_whose_rows_see_each_other_gets_no_strip(model: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch) -> None:
    sequences = rows(6)

    def one_long_row(lengths: list[int], shared: int, device: torch.device) -> Strip:
        return strip_of([shared + sum(length - shared for length in lengths)], shared, device)

    monkeypatch.setattr(loss_module, "strip_of", one_long_row)
    assert trying_strips(model, sequences).padded


def test_a_model_that_comes_to_other_losses_in_a_strip_gets_none(
    model: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shifted(self: LabelledLoss, batch: MicroBatch, shared: int) -> object:
        targets, chosen, inputs, around = in_a_strip(self, batch, shared)
        return (targets + 1) % VOCABULARY, chosen, inputs, around

    in_a_strip = LabelledLoss._in_a_strip
    monkeypatch.setattr(LabelledLoss, "_in_a_strip", shifted)
    assert trying_strips(model, rows(6)).padded


def test_trying_draws_no_random_number(model: LlamaForCausalLM) -> None:
    """Else a run that is resumed, and tries again, would go on with other numbers than one that was never stopped."""
    model.model.layers[0].mlp.act_fn = torch.nn.Dropout(0.3)
    model.train()
    before = torch.get_rng_state()
    assert not trying_strips(model, rows(3, prefix=16)).padded
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training


def test_the_first_label_is_never_swallowed_by_the_shared_part(model: LlamaForCausalLM) -> None:
    """Rows that are alike up to their first label: the token that predicts it must stay with the row."""
    ids = [list(range(20)), [*range(15), 50, 51, 52, 53, 54]]
    sequences = [Encoded(i, [False] * 15 + [True] * 5, [Span(15, 20)]) for i in ids]
    (batch,) = in_batches(sequences, 1000, padded=False)
    assert shared_prefix(batch) == 14
    loss = trying_strips(model, sequences)
    assert not loss.padded
    assert loss(batch).sum().item() == pytest.approx(reference(model, sequences).item(), rel=1e-5)


@pytest.mark.parametrize("cap", [None, 5.0])
@pytest.mark.parametrize("frozen", [True, False])
def test_a_head_in_blocks_matches_the_library(cap: float | None, frozen: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_module, "_LOGITS", 33 * 70)
    torch.manual_seed(1)
    head = torch.nn.Linear(8, 33, dtype=torch.float64).requires_grad_(not frozen)
    hidden = torch.randn(150, 8, dtype=torch.float64, requires_grad=True)
    targets, counts = torch.randint(0, 33, (150,)), torch.rand(150)
    logits = head(hidden) * 3
    expected = torch.nn.functional.cross_entropy(
        logits if cap is None else cap * torch.tanh(logits / cap), targets, reduction="none"
    )
    learning = [hidden] if frozen else [hidden, head.weight, head.bias]
    wanted = torch.autograd.grad((expected * counts).sum(), learning)
    with torch.no_grad():  # so that caps bend much
        head.weight *= 3
        head.bias *= 3
    found = head_losses(hidden, head, Labels(targets, cap))
    assert torch.allclose(found.double(), expected, rtol=1e-5)
    slopes = torch.autograd.grad((found * counts).sum(), learning)
    for i, (mine, theirs) in enumerate(zip(slopes, wanted, strict=True)):
        assert torch.allclose(mine * (3 if i else 1), theirs, atol=1e-5)


def test_logits_that_a_model_made_itself() -> None:
    torch.manual_seed(1)
    logits = torch.randn(150, 33, dtype=torch.float64, requires_grad=True)
    targets, counts = torch.randint(0, 33, (150,)), torch.rand(150)
    expected = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    (wanted,) = torch.autograd.grad((expected * counts).sum(), logits)
    ours = logit_losses(logits, Labels(targets, None))
    (found,) = torch.autograd.grad((ours * counts).sum(), logits)
    assert torch.allclose(ours.double(), expected, rtol=1e-5)
    assert torch.allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("after", ["nothing", "soft cap", "scale"])
def test_what_a_model_does_with_its_logits_is_done(
    model: LlamaForCausalLM, after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Known endings are made with the loss; with another the model itself is asked."""
    forward = model.forward

    def ending(**inputs: object) -> object:
        found = forward(**inputs)
        found.logits = {"nothing": found.logits, "soft cap": 0.02 * torch.tanh(found.logits / 0.02), "scale": found.logits * 7}[
            after
        ]
        return found

    monkeypatch.setattr(model, "forward", ending)
    model.config.final_logit_softcapping = 0.02
    sequences = rows(5)
    loss = LabelledLoss(model)
    (batch,) = in_batches(sequences, 100_000, padded=True)
    assert loss(batch).sum().item() == pytest.approx(reference(model, sequences).item(), rel=1e-5)
    assert (loss._ending is None) == (after == "scale")


def test_plan_covers_every_row_once_an_epoch_and_depends_on_nothing_else() -> None:
    lengths = [random.Random(i).randint(5, 300) for i in range(200)]
    plan = BatchPlan(lengths, 512, epochs=2, seed=3)
    seen = [i for step in plan.steps for i in step]
    assert sorted(seen) == sorted([*range(200), *range(200)])
    assert plan.steps == BatchPlan(lengths, 512, epochs=2, seed=3).steps
    assert plan.steps != BatchPlan(lengths, 512, epochs=2, seed=4).steps
    assert all(len(step) == 1 or sum(lengths[i] for i in step) <= 512 for step in plan.steps)


def test_micro_batches_hold_all_labels_of_the_step() -> None:
    sequences = rows(10)
    step = collate(64, padded=True)(sequences)
    assert sum(batch.labelled for batch in step.micro) == sum(row.labelled for row in sequences)
    sources = [source for batch in step.micro for source in batch.sources]
    assert sorted(sources) == sorted(row.source for row in sequences)
    assert [sequences[i].source for group in layout(sequences, 64, padded=True) for i in group] == sources
    assert len(step.micro) > 1


@pytest.mark.parametrize(("cap", "scale", "known"), [(30.0, 1.0, True), (None, 1.01, False), (30.0, 1.01, False)])
def test_endings_that_small_logits_hardly_show(
    model: LlamaForCausalLM, cap: float | None, scale: float, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new model's logits are small, where a soft cap bends nothing yet; later they are not."""
    forward = model.forward

    def ending(**inputs: object) -> object:
        found = forward(**inputs)
        found.logits = scale * (found.logits if cap is None else cap * torch.tanh(found.logits / cap))
        return found

    monkeypatch.setattr(model, "forward", ending)
    model.config.final_logit_softcapping = cap
    loss = LabelledLoss(model)
    (batch,) = in_batches(rows(5), 100_000, padded=True)
    loss(batch)
    assert (loss._ending is not None) == known
    assert loss._ending is None or loss._ending.cap == cap
    with torch.no_grad():
        model.lm_head.weight *= 1000
    assert loss(batch).sum().item() == pytest.approx(reference(model, rows(5)).item(), rel=1e-5)


@pytest.mark.parametrize("known", [33, 29, 40])
@pytest.mark.parametrize("cap", [None, 5.0])
@pytest.mark.parametrize("frozen", [True, False])
def test_what_a_teacher_says_matches_the_library(
    known: int, cap: float | None, frozen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a vocabulary is padded to another width than the teacher's."""
    monkeypatch.setattr(head_module, "_LOGITS", 33 * 70)
    torch.manual_seed(1)
    share, temperature = 0.7, 2.0
    head = torch.nn.Linear(8, 33, dtype=torch.float64).requires_grad_(not frozen)
    hidden = torch.randn(150, 8, dtype=torch.float64, requires_grad=True)
    targets, counts = torch.randint(0, 29, (150,)), torch.rand(150)
    taught = torch.nn.functional.pad(torch.randn(150, known, dtype=torch.float64), (0, 0, 0, 42))
    logits = head(hidden) if cap is None else cap * torch.tanh(head(hidden) / cap)
    wanted = torch.nn.functional.pad((taught[:150, :33] / temperature).softmax(-1), (0, max(0, 33 - known)))
    apart = torch.nn.functional.kl_div((logits / temperature).log_softmax(-1), wanted, reduction="none").sum(-1)
    labels = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    expected = share * temperature**2 * apart + (1 - share) * labels
    learning = [hidden] if frozen else [hidden, head.weight, head.bias]
    slopes = torch.autograd.grad((expected * counts).sum(), learning)
    found = head_losses(hidden, head, Taught(targets, cap, lambda part: taught[part], share, temperature))
    assert torch.allclose(found.double(), expected, rtol=1e-5)
    for mine, theirs in zip(torch.autograd.grad((found * counts).sum(), learning), slopes, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-5)


def test_a_teacher_that_is_the_student_teaches_nothing_and_another_its_distribution(model: LlamaForCausalLM) -> None:
    sequences = rows(6)
    torch.manual_seed(3)
    teacher = LlamaForCausalLM(model.config)
    expected = torch.zeros(())
    for row in sequences:
        ids, places = torch.tensor([row.ids]), [i - 1 for i, kept in enumerate(row.loss_mask) if kept]
        with torch.no_grad():
            ours, theirs = (m(input_ids=ids).logits[0, places].log_softmax(-1) for m in (model, teacher))
        expected += (theirs.exp() * (theirs - ours)).sum()
    for padded in (True, False):
        student = trying_strips(model, sequences, not padded)
        for taught_by, wanted in ((model, 0.0), (teacher, expected.item())):
            loss = TaughtLoss(student, trying_strips(taught_by, sequences, not padded), 1.0, 1.0)
            assert loss.padded is padded
            (batch,) = in_batches(sequences, 100_000, padded)
            assert loss(batch).sum().item() == pytest.approx(wanted, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("padded", [True, False])
def test_a_teacher_that_scales_its_logits(model: LlamaForCausalLM, padded: bool) -> None:
    """As some families do: its distribution is what it says at the end, and not what its head gives."""
    original = model.forward

    def scaled(*arguments: Any, **settings: Any) -> Any:
        found = original(*arguments, **settings)
        found.logits = found.logits * 3
        return found

    sequences = rows(20)
    student = trying_strips(model, sequences, not padded)
    (batch,) = in_batches(sequences, 100_000, padded)
    assert batch.labelled % 64 > 1
    with torch.no_grad():
        expected = student.logits(batch)(slice(0, batch.labelled))[: batch.labelled].log_softmax(-1)
    model.forward = scaled
    teacher = trying_strips(model, sequences, not padded)
    told = []
    with torch.no_grad():
        for part in some(batch.labelled):
            told.append(teacher.logits(batch)(part))
        assert {len(part) for part in told} == {64}
        wanted = torch.cat(told)[: batch.labelled].log_softmax(-1)
        assert torch.allclose(wanted, (3 * expected).log_softmax(-1), atol=1e-5)
        loss = TaughtLoss(trying_strips(model, sequences, not padded), teacher, 1.0, 1.0)
        assert loss(batch).sum().item() == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize("padded", [True, False])
def test_exact_are_the_answers_that_the_model_would_give_itself(model: LlamaForCausalLM, padded: bool) -> None:
    sequences = rows(6)
    said = []
    for i, row in enumerate(sequences):
        ids = row.ids[: row.spans[0].start]
        for _ in range(row.labelled):
            ids = [*ids, int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())]
        if i % 2:
            ids = [*ids[:-1], (ids[-1] + 1) % VOCABULARY]
        said.append(Encoded([*ids, 5], row.loss_mask, row.spans, row.source))
    loss = trying_strips(model, said, not padded)
    assert loss.padded is padded
    silent = Encoded([3, 4, 5], [False] * 3, [], "silent")
    (batch,) = in_batches([silent, *said], 100_000, padded)
    found = dict(zip(batch.sources[1:], loss.exact(batch).tolist(), strict=True))
    assert batch.sources[0] == "silent"  # the shortest
    assert found == {row.source: i % 2 == 0 for i, row in enumerate(said)}
    (batch,) = in_batches([silent], 100_000, padded)
    assert loss.exact(batch).tolist() == []
