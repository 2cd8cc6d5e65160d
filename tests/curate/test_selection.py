"""Orders of rows, and how much is taken from them."""

from __future__ import annotations

import numpy as np
import pytest

from kitae.ask import Reply
from kitae.curate.judging import rating
from kitae.curate.ranking import Amount, Seen, in_turns, select

NONE = np.zeros(6, dtype=np.bool_)


def seen(**known: object) -> Seen:
    draws = np.array([0.5, 0.1, 0.9, 0.3, 0.7, 0.2])
    values = {"lengths": [10, 20, 30, 40, 50, 60], "answers": [6, 5, 4, 3, 2, 1], "draws": draws, **known}
    return Seen(**values)  # type: ignore[arg-type]


def test_each_way_has_its_order() -> None:
    difficulty = np.array([0.2, 0.9, 0.4, np.nan, 1.2, 0.6])
    out = {"ifd": ~(difficulty < 1)}
    assert select(["random"], seen(), Amount(rows=3)) == [2, 4, 0]
    assert select(["longest"], seen(), Amount(rows=2)) == [0, 1]
    assert select(["ifd"], seen(difficulty=difficulty, left_out=out), Amount(rows=9)) == [1, 5, 2, 0]
    judged = np.array([3.0, 5, 5, 1, 4, 5])
    assert select(["judge"], seen(judged=judged), Amount(rows=4)) == [2, 5, 1, 4]  # equals at random


def test_several_ways_share_the_say() -> None:
    judged = np.array([1.0, 2, 3, 4, 5, 6])
    for ways in (["longest", "judge"], ["judge", "longest"]):
        assert select(ways, seen(judged=judged, answers=[6, 5, 4, 1, 2, 3]), Amount(rows=1)) == [5]
    assert set(select(["longest", "judge"], seen(judged=judged), Amount(rows=6))) == set(range(6))


@pytest.mark.parametrize(
    ("amount", "count"),
    [(Amount(rows=4), 4), (Amount(share=0.5), 3), (Amount(share=0.01), 1), (Amount(tokens=9), 0), (Amount(tokens=60), 3)],
)
def test_amounts(amount: Amount, count: int) -> None:
    chosen = select(["longest"], seen(), amount)
    assert chosen == list(range(count))


def test_a_budget_is_filled_by_rows_that_fit() -> None:
    answers = [0, 0, 0, 0, 0, 9]  # the longest row first: 60 of 95 tokens
    chosen = select(["longest"], seen(answers=answers), Amount(tokens=95))
    lengths = [10, 20, 30, 40, 50, 60]
    assert chosen[0] == 5 and 85 < sum(lengths[i] for i in chosen) <= 95


def test_spread_rows_are_far_from_each_other() -> None:
    corners = np.array([[1, 0], [0.999, 0.04], [0, 1], [0.04, 0.999], [-1, 0], [-0.999, 0.04]], dtype=np.float32)
    chosen = select(["diverse"], seen(vectors=corners), Amount(rows=3))
    assert {row // 2 for row in chosen} == {0, 1, 2}
    rated = np.array([5.0, 4.9, 4.8, 1, 1, 1])
    both = select(["judge", "diverse"], seen(vectors=corners, judged=rated), Amount(rows=2))
    assert both == [0, 2] or both == [0, 4]  # the best first, then the farthest among the best six
    narrow = select(["judge", "diverse"], seen(vectors=corners, judged=rated), Amount(rows=1))
    assert narrow == [0]


def test_spread_rows_are_far_from_all_that_were_taken() -> None:
    """And not from the last one only, whose opposite may lie beside the first."""
    angles = np.radians([0, 2, 90, 92, 180, 182, 270, 272])
    around = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    same = {"lengths": [9] * 8, "answers": [1] * 8, "draws": np.zeros(8)}
    assert {row // 2 for row in select(["diverse"], seen(vectors=around, **same), Amount(rows=4))} == {0, 1, 2, 3}


def test_a_long_row_that_does_not_fit_stands_for_nothing() -> None:
    """Of two alike, the short one is taken where the long one is too long."""
    corners = np.array([[1, 0], [0, 1], [0.01, 0.999], [-1, 0], [-0.99, 0.01], [0, -1]], dtype=np.float32)
    lengths = [10, 500, 10, 500, 10, 10]
    chosen = select(["diverse"], seen(vectors=corners, lengths=lengths), Amount(tokens=40))
    assert set(chosen) == {0, 2, 4, 5}


def test_targets_choose_in_turns() -> None:
    alike = np.array([[0.9, 0.8], [0.8, 0.9], [0.7, 0.1], [0.1, 0.2]], dtype=np.float32)
    assert in_turns(alike) == [0, 1, 2, 3]
    greedy = np.array([[0.9, 0.95], [0.8, 0.1], [0.1, 0.2]], dtype=np.float32)
    assert in_turns(greedy) == [0, 2, 1]  # the second has the better claim on the first, but the first chose it
    vectors = np.eye(6, dtype=np.float32)
    assert select(["similar"], seen(vectors=vectors, targets=vectors[[4, 2]]), Amount(rows=2)) == [4, 2]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        *(
            ("Rating (1-5): 4", 4.0),
            ("4 out of 5", 4.0),
            ("On a scale of 1 to 5, I would rate this 4.", 4.0),
            ("Score: 2. It has 12 flaws", 2.0),
            ("I give it a 3", 3.0),
        ),
        *(("5.7", None), ("-3", None), ("5点満点中4点", 4.0), ("評価：５", 5.0), ("3 - it names 4 rivers", 3.0)),
        *(("4", 4.0), ("Rating: 3", 3.0), ("4/5", 4.0), ("**5**", 5.0), ("４点", 4.0), ("4.5", 4.5), ("2.", 2.0)),
        *(
            ("", None),
            ("excellent", None),
            ("10", None),
            ("0", None),
            ("7 of 9", None),
            ("9", None),
            ("Score: 10/10", None),
            ("100 %", None),
        ),
    ],
)
def test_ratings_are_read(text: str, wanted: float | None) -> None:
    assert rating(Reply(text)) == wanted
    assert rating(Reply(text, "length")) is None and rating(Reply(text, failed="500")) is None
