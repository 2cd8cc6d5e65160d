"""Scores, and whether two of them differ."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings, strategies as st

from kitae.evaluate import Share, exact_match, looping, mean_difference, stopped, worse_p_value
from kitae.generate import Completion


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634), (81, 263, 0.2553, 0.3662), (1, 1, 0.2065, 1.0)],
)
def test_wilson_intervals(hits: int, total: int, low: float, high: float) -> None:
    assert Share(hits, total).interval == pytest.approx((low, high), abs=5e-4)


@settings(deadline=None)
@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_an_interval_holds_its_share(pair: tuple[int, int]) -> None:
    share = Share(*pair)
    low, high = share.interval
    assert 0.0 <= low <= share.value + 1e-12
    assert share.value - 1e-12 <= high <= 1.0
    wider = Share(pair[0] * 4, pair[1] * 4).interval
    assert wider[1] - wider[0] < high - low


def test_a_share_says_how_sure_it_is() -> None:
    assert str(Share(48, 48)) == "48 of 48 (93%–100%)"


def test_nothing_was_asked() -> None:
    assert (Share(0, 0).value, Share(0, 0).interval) == (0.0, (0.0, 1.0))


def pairs(both: int, lost: int, won: int, neither: int) -> tuple[list[bool], list[bool]]:
    before = [True] * both + [True] * lost + [False] * won + [False] * neither
    after = [True] * both + [False] * lost + [True] * won + [False] * neither
    return before, after


@pytest.mark.parametrize(
    ("lost", "won", "expected"),
    [(0, 0, 1.0), (1, 0, 0.5), (5, 0, 1 / 32), (0, 5, 1.0), (6, 1, 8 / 128), (3, 3, 42 / 64), (8, 2, 56 / 1024)],
)
def test_mcnemar(lost: int, won: int, expected: float) -> None:
    assert worse_p_value(*pairs(7, lost, won, 4)) == pytest.approx(expected)


def test_pairs_must_pair() -> None:
    with pytest.raises(ValueError, match="zip"):
        worse_p_value([True], [])


@pytest.mark.parametrize(
    "tokens",
    [
        [5] * 12,
        [1, 2, 3] * 4,
        [9, 8, 7] + [1, 2] * 6,
        list(range(30)) + [4, 5, 6, 7, 8] * 3,
        [1, 2, 3, 4, 5] * 4 + [1, 2],
        list(range(64)) * 3,
    ],
)
def test_loops(tokens: list[int]) -> None:
    assert looping(tokens)


@pytest.mark.parametrize(
    "tokens",
    [
        [],
        [1],
        [5] * 11,
        [7, 8] * 3,
        list(range(200)),
        [1, 2, 3, 4, 5, 6] * 2,
        [5] * 20 + [1],
        list(range(65)) * 3,
        [1, 2, 3, 4, 1, 2, 3, 5, 1, 2, 3, 6, 1, 2, 3, 7],
    ],
)
def test_no_loops(tokens: list[int]) -> None:
    assert not looping(tokens)


def test_exact_match_forgives_only_white_space_around() -> None:
    answers = [Completion(text, (), "stop") for text in (" a b\n", "a  b", "A b")]
    assert exact_match(answers, ["a b"] * 3) == [True, False, False]


def test_stopped() -> None:
    assert stopped([Completion("", (), "stop"), Completion("", (), "length")]) == [True, False]


def test_mean_difference() -> None:
    mean, error = mean_difference([1.0, 2.0, 3.0, 4.0], [2.0, 2.0, 5.0, 5.0])
    assert mean == pytest.approx(1.0)
    assert error == pytest.approx(math.sqrt(2 / 3 / 4))
    assert mean_difference([1.0], [0.0]) == (-1.0, math.inf)
    assert mean_difference([1.0, 2.0], [2.0, 3.0]) == (1.0, 0.0)
