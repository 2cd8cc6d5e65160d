"""Divergence counts what is really different, and nothing that rounding alone decides."""

from __future__ import annotations

import numpy as np
import pytest

from kitae.verify.compare import divergence

_RNG = np.random.default_rng(0)
_LOGITS = _RNG.normal(size=(200, 50)).astype(np.float32) * 3
_TARGETS = _RNG.integers(0, 50, size=200)


def test_the_same_logits_do_not_diverge() -> None:
    found = divergence(_LOGITS, _LOGITS, _TARGETS)
    assert (found.mean, found.maximum, found.top1, found.tokens) == (0.0, 0.0, 1.0, 200)


@pytest.mark.parametrize(("gap", "agreement"), [(1e-5, 1.0), (0.01, 1.0), (0.05, 0.0)])
def test_only_a_gap_that_rounding_cannot_make_is_a_disagreement(gap: float, agreement: float) -> None:
    first, other = _LOGITS.copy(), _LOGITS.copy()
    first[:, 0] = first[:, 1] = other[:, 0] = other[:, 1] = 20.0
    first[:, 0] += gap
    other[:, 1] += gap
    assert divergence(first, other, _TARGETS).top1 == agreement


def test_another_choice_is_a_disagreement() -> None:
    other = _LOGITS.copy()
    best = np.sort(other[0])[-2:]
    other[0, other[0].argmax()] = best[0] - 0.1
    assert divergence(_LOGITS, other, _TARGETS).top1 == pytest.approx(199 / 200)
    assert divergence(_LOGITS, other, _TARGETS).mean > 0


def test_one_side_may_pad_its_vocabulary() -> None:
    padded = np.concatenate([_LOGITS, np.full((200, 14), 99.0, dtype=np.float32)], axis=1)
    assert divergence(_LOGITS, padded, _TARGETS).maximum == 0.0
