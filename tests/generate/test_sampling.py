"""How a token is chosen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from kitae.generate import Settings, sampling
from kitae.generate.sampling import choose, filtered, penalised

WARM = Settings(temperature=1.0)


def logits(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def shares(*values: float) -> np.ndarray:
    return np.log(np.array(values)).astype(np.float32)


def kept(values: np.ndarray, settings: Settings) -> list[int]:
    return [int(i) for i in np.flatnonzero(filtered(values, settings))]


def test_penalty_divides_positive_and_multiplies_negative() -> None:
    before = logits(2.0, -2.0, 0.0, 4.0)
    after = penalised(before, [0, 1, 1, 2], 2.0)
    assert after.tolist() == [1.0, -4.0, 0.0, 4.0]
    assert before.tolist() == [2.0, -2.0, 0.0, 4.0]


def test_penalty_changes_the_choice() -> None:
    greedy = Settings(repetition_penalty=3.0)
    rng = np.random.default_rng(0)
    assert choose(logits(3.0, 2.0, -1.0), greedy, [], rng) == 0
    assert choose(logits(3.0, 2.0, -1.0), greedy, [0], rng) == 1
    assert choose(logits(3.0, 2.0, -1.0), Settings(), [0], rng) == 0


def test_no_temperature_takes_the_likeliest() -> None:
    values = np.random.default_rng(1).normal(size=100).astype(np.float32)
    assert {choose(values, Settings(), [], np.random.default_rng(seed)) for seed in range(5)} == {int(values.argmax())}


def test_top_k() -> None:
    assert kept(shares(0.1, 0.4, 0.3, 0.2), replace(WARM, top_k=2)) == [1, 2]
    assert kept(shares(0.1, 0.4, 0.3, 0.2), replace(WARM, top_k=99)) == [0, 1, 2, 3]


def test_top_p_keeps_the_token_that_crosses_the_border() -> None:
    values = shares(0.1, 0.4, 0.3, 0.2)
    assert kept(values, replace(WARM, top_p=0.35)) == [1]
    assert kept(values, replace(WARM, top_p=0.6)) == [1, 2]
    assert kept(values, replace(WARM, top_p=0.0)) == [1]


def test_min_p() -> None:
    assert kept(shares(0.1, 0.4, 0.3, 0.2), replace(WARM, min_p=0.6)) == [1, 2]
    assert kept(shares(0.25, 0.25, 0.25, 0.25), replace(WARM, min_p=1.0)) == [0, 1, 2, 3]


def test_filters_look_at_what_is_drawn_from() -> None:
    """A high temperature flattens first, so more tokens make up the same share."""
    values = shares(0.7, 0.2, 0.1)
    assert kept(values, replace(WARM, top_p=0.6)) == [0]
    assert kept(values, replace(WARM, temperature=5.0, top_p=0.6)) == [0, 1]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(-9999, 9999).map(float) | st.just(-np.inf), min_size=1, max_size=40).filter(
        lambda v: max(v) > -np.inf
    ),
    st.floats(1e-310, 100.0),
    st.integers(0, 50),
    st.floats(0.0, 1.0),
    st.floats(0.0, 1.0),
)
def test_a_distribution_is_never_empty_and_sums_to_one(
    values: list[float], temperature: float, top_k: int, top_p: float, min_p: float
) -> None:
    result = filtered(logits(*values), Settings(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p))
    assert result.sum() == pytest.approx(1.0)
    assert (result >= 0).all()
    assert result[int(np.argmax(values))] == result.max() > 0


def test_seeds_repeat() -> None:
    values = np.random.default_rng(2).normal(size=50).astype(np.float32)

    def draws(seed: int) -> list[int]:
        rng = np.random.default_rng(seed)
        return [choose(values, WARM, [], rng) for _ in range(30)]

    assert draws(7) == draws(7)
    assert draws(7) != draws(8)


def test_draws_follow_the_distribution() -> None:
    rng = np.random.default_rng(3)
    counts = np.bincount([choose(shares(0.1, 0.6, 0.3), WARM, [], rng) for _ in range(4000)], minlength=3)
    assert counts / 4000 == pytest.approx([0.1, 0.6, 0.3], abs=0.03)


@pytest.mark.parametrize("case", [{"top_p": 0.9}, {"top_k": 40}, {"min_p": 0.1}, {"top_k": 2000, "top_p": 0.999}, {}])
@pytest.mark.parametrize("spread", [0.01, 1.0, 4.0])
def test_a_large_vocabulary_is_filtered_as_if_it_were_sorted(case: dict[str, float], spread: float) -> None:
    values = np.round(np.random.default_rng(3).normal(0, spread, 20_000), 2).astype(np.float32)  # many are equal
    chosen = replace(WARM, **case)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "_UNLIKELY", -1.0)
        expected = filtered(values, chosen)
    np.testing.assert_array_equal(filtered(values, chosen), expected)
