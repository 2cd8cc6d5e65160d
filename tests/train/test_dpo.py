"""Direct preference optimisation: the formula, TRL's own, and the same however rows are laid out."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase
from trl import DPOConfig, DPOTrainer

from kitae.chat import ChatCodec, Encoded, Span
from kitae.train.attention import allow_strips
from kitae.train.batches import in_batches
from kitae.train.loss import LabelledLoss, still, trial_batch
from kitae.train.preferences import PreferenceLoss

VOCABULARY = 97
Network = Callable[..., LlamaForCausalLM]
BETA = 0.3
KEYS = ("input_ids", "completion_mask", "attention_mask")


def moved(model: LlamaForCausalLM) -> LlamaForCausalLM:
    other = copy.deepcopy(model)
    torch.manual_seed(1)
    with torch.no_grad():
        for weights in other.parameters():
            weights += 0.05 * torch.randn_like(weights)
    return other


def pairs(count: int) -> list[Encoded]:
    rng = random.Random(0)
    made = []
    for i in range(count):
        prompt = [7, 8, 9, *(rng.randrange(VOCABULARY) for _ in range(rng.randint(1, 20)))]

        def answered(source: str, prompt: list[int] = prompt) -> Encoded:
            answer = [rng.randrange(VOCABULARY) for _ in range(rng.randint(1, 15))]
            mask = [False] * len(prompt) + [True] * len(answer) + [False]
            span = Span(len(prompt), len(prompt) + len(answer))
            return Encoded([*prompt, *answer, 5], mask, [span], source)

        made.append(replace(answered(f"{i}"), worse=answered(f"{i} (rejected)")))
    return made


def log_likelihood(model: LlamaForCausalLM, row: Encoded) -> torch.Tensor:
    """The plain way: one row, all logits."""
    shares = model(input_ids=torch.tensor([row.ids])).logits[0].log_softmax(-1)
    return sum((shares[i - 1, row.ids[i]] for i, learned in enumerate(row.loss_mask) if learned), torch.zeros(()))


def by_the_formula(model: LlamaForCausalLM, reference: LlamaForCausalLM, rows: list[Encoded], answers: float) -> torch.Tensor:
    total = torch.zeros(())
    for row in rows:
        assert row.worse is not None
        with torch.no_grad():
            before = log_likelihood(reference, row) - log_likelihood(reference, row.worse)
        now = log_likelihood(model, row) - log_likelihood(model, row.worse)
        total = total - torch.nn.functional.logsigmoid(BETA * (now - before))
        total = total - answers * log_likelihood(model, row) / row.labelled
    return total


def remembering(model: LlamaForCausalLM, rows: list[Encoded], padded: bool, answers: float = 0.0) -> PreferenceLoss:
    if not padded:
        allow_strips(model)
    labelled = LabelledLoss(model)
    labelled.try_strip(trial_batch(rows))
    assert labelled.padded is padded
    loss = PreferenceLoss(labelled, BETA, answers)
    with still(model):
        for batch in in_batches(rows, 10**6, padded):
            loss.remember(batch)
    return loss


@pytest.mark.parametrize("budget", [16, 200, 10**6])
@pytest.mark.parametrize(("padded", "answers"), [(True, 0.0), (False, 0.0), (False, 0.7)])
def test_loss_and_gradient_are_those_of_the_formula(network: Network, budget: int, padded: bool, answers: float) -> None:
    rows, model = pairs(7), network()
    reference = copy.deepcopy(model)
    loss = remembering(model, rows, padded, answers)
    model.load_state_dict(moved(model).state_dict())
    expected = by_the_formula(copy.deepcopy(model), reference, rows, answers)
    plain = copy.deepcopy(model)
    by_the_formula(plain, reference, rows, answers).backward()
    total, count = 0.0, 0
    for batch in in_batches(rows, budget, padded):
        part = loss(batch).sum()
        part.backward()
        total, count = total + part.item(), count + loss.count(batch)
    assert count == len(rows)
    assert total == pytest.approx(expected.item(), rel=1e-5)
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-5, rtol=1e-3)


def test_it_begins_at_a_tie(network: Network) -> None:
    rows, model = pairs(3), network()
    loss = remembering(model, rows, padded=True)
    (batch,) = in_batches(rows, 10**6, padded=True)
    assert loss(batch).sum().item() == pytest.approx(3 * 0.693147, rel=1e-5)


def test_what_is_compared_stays_in_one_micro_batch() -> None:
    rows = pairs(9)
    for padded in (True, False):
        for batch in in_batches(rows, 40, padded):
            lengths = batch.lengths.tolist()
            known = [[len(s.ids) for s in row.sequences] for row in rows]
            assert all(lengths[i : i + 2] in known for i in range(0, len(lengths), 2))


def test_the_loss_is_the_one_of_trl(network: Network, codec: ChatCodec, tmp_path: Path) -> None:
    """On the tokens that TRL cuts and labels; it also learns the line break behind an answer's end."""
    tokenizer: PreTrainedTokenizerBase = codec.vocabulary.tokenizer
    rows = Dataset.from_list(
        [
            {
                "prompt": [{"role": "user", "content": f"Say {word}"}],
                "chosen": [{"role": "assistant", "content": word}],
                "rejected": [{"role": "assistant", "content": f"I will not say {word}."}],
            }
            for word in ("apple", "boat or ship", "cloud")
        ]
    )
    model = network(len(tokenizer))
    reference, policy = copy.deepcopy(model), moved(model)
    arguments = DPOConfig(
        str(tmp_path),
        beta=BETA,
        report_to="none",
        use_cpu=True,
        bf16=False,
        per_device_train_batch_size=3,
        gradient_checkpointing=False,
    )
    theirs = DPOTrainer(policy, reference, args=arguments, train_dataset=rows, processing_class=tokenizer)
    inputs = next(iter(theirs.get_train_dataloader()))
    expected = theirs.compute_loss(theirs.model.eval(), inputs).item()
    ids, masks, real = (inputs[name].bool() if "mask" in name else inputs[name] for name in KEYS)
    sequences = [Encoded(i[r].tolist(), m[r].tolist(), [], "") for i, m, r in zip(ids, masks, real, strict=True)]
    encoded = [replace(better, worse=worse) for better, worse in zip(sequences[:3], sequences[3:], strict=True)]
    loss = remembering(model, encoded, padded=True)
    model.load_state_dict(moved(model).state_dict())
    (batch,) = in_batches(encoded, 10**6, padded=True)
    assert loss(batch).sum().item() / 3 == pytest.approx(expected, rel=1e-4)
    assert expected != pytest.approx(0.693147, rel=1e-2)
