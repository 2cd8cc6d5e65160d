"""Each sampler against an independent one: transformers' processors where there is one, plain definitions elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
    SuppressTokensLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from kitae.generate import Settings
from kitae.generate.sampling import Wish, adjusted, choose, filtered, repeated

VOCABULARY = 60
CASES = 1000


def some(random: np.random.Generator, off: float, values: Sequence[float]) -> float:
    """Off in half of the cases."""
    return off if random.random() < 0.5 else float(random.choice(values))


def drawn(number: int) -> tuple[Settings, np.ndarray, list[int], int]:
    random = np.random.default_rng(number)
    settings = Settings(
        temperature=float(random.choice([0.3, 0.8, 1.0, 1.5])),
        top_k=int(some(random, 0, [1, 3, 10, 59, 200])),
        top_p=some(random, 1.0, [0.1, 0.5, 0.9, 0.99]),
        min_p=some(random, 0.0, [0.02, 0.2, 0.9]),
        typical_p=some(random, 1.0, [0.1, 0.5, 0.9]),
        repetition_penalty=some(random, 1.0, [0.7, 1.1, 2.0]),
        logit_bias=tuple((int(i), float(random.normal())) for i in random.choice(VOCABULARY, 3, False)) if number % 2 else (),
        bans=tuple(int(i) for i in random.choice(VOCABULARY, 4, False)) if number % 3 else (),
    )
    logits = random.normal(0, float(random.choice([0.5, 2.0, 6.0])), VOCABULARY).astype(np.float32)
    history = random.integers(0, VOCABULARY, int(random.integers(1, 30))).tolist()
    return settings, logits, history, int(random.integers(0, len(history)))


def by_transformers(settings: Settings, logits: np.ndarray, history: list[int]) -> np.ndarray:
    steps = LogitsProcessorList()
    if settings.repetition_penalty != 1.0:
        steps.append(RepetitionPenaltyLogitsProcessor(settings.repetition_penalty))
    if settings.logit_bias:
        steps.append(SequenceBiasLogitsProcessor([[[token], bias] for token, bias in settings.logit_bias]))
    if settings.bans:
        steps.append(SuppressTokensLogitsProcessor(list(settings.bans)))
    steps.append(TemperatureLogitsWarper(settings.temperature))
    if settings.top_k:
        steps.append(TopKLogitsWarper(settings.top_k))
    if settings.typical_p < 1.0:
        steps.append(TypicalLogitsWarper(settings.typical_p))
    if settings.top_p < 1.0:
        steps.append(TopPLogitsWarper(settings.top_p))
    if settings.min_p:
        steps.append(MinPLogitsWarper(settings.min_p))
    scores = steps(torch.tensor([history]), torch.tensor(logits[None], dtype=torch.float64))
    return scores.softmax(-1)[0].numpy()


def test_the_same_distribution_as_transformers() -> None:
    for number in range(CASES):
        settings, logits, history, asked = drawn(number)
        ours = filtered(adjusted(logits, Wish(settings, history, np.random.default_rng(0), asked)), settings)
        np.testing.assert_allclose(ours, by_transformers(settings, logits, history), atol=2e-6, err_msg=f"{number} {settings}")


def test_presence_and_frequency_count_what_the_answer_says() -> None:
    for number in range(CASES):
        _, logits, history, asked = drawn(number)
        random = np.random.default_rng(number)
        presence, frequency = (float(x) for x in random.normal(0, 1, 2))
        settings = Settings(presence_penalty=presence, frequency_penalty=frequency)
        expected = logits.astype(np.float64)
        for token in range(VOCABULARY):
            count = history[asked:].count(token)
            expected[token] -= presence * (count > 0) + frequency * count
        ours = adjusted(logits, Wish(settings, history, random, asked))
        np.testing.assert_allclose(ours, expected, atol=1e-5)


def longest_repeat(history: Sequence[int], token: int) -> int:
    """By looking at every place where the token stands."""
    best = 0
    for place, said in enumerate(history):
        if said == token:
            length = 0
            while length < place and history[place - 1 - length] == history[-1 - length]:
                length += 1
            best = max(best, length)
    return best


def test_dry_finds_every_repeat() -> None:
    for number in range(CASES):
        random = np.random.default_rng(number)
        history = random.integers(0, int(random.integers(1, 5)), int(random.integers(1, 40))).tolist()
        found = repeated(history)
        assert {token: found.get(token, 0) for token in range(5)} == {
            token: longest_repeat(history, token) for token in range(5)
        }


def test_dry_penalises_by_length() -> None:
    history = [1, 2, 3, 4, 9, 1, 2, 3]  # 4 came after 1 2 3
    settings = Settings(dry_multiplier=0.5, dry_base=2.0, dry_allowed=2)
    ours = adjusted(np.zeros(10, np.float32), Wish(settings, history, np.random.default_rng(0)))
    assert ours.tolist() == [0, 0, 0, 0, -1.0, 0, 0, 0, 0, 0]
    assert not np.any(adjusted(np.zeros(10, np.float32), Wish(settings, [1, 2, 9, 1], np.random.default_rng(0))))


@pytest.mark.parametrize("settings", [Settings(temperature=1.0, bans=(0, 1, 2)), Settings(bans=(0, 1, 2))])
def test_what_is_banned_is_never_chosen(settings: Settings) -> None:
    random = np.random.default_rng(0)
    assert {choose(np.zeros(4, np.float32), settings, [], random) for _ in range(50)} == {3}
