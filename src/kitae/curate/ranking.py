"""Which rows of many are worth training on. Each way of choosing puts rows into an order; an amount takes the first of them.

Several ways together: rows stand by the mean of their places in each order. Spreading comes last, over the best of those,
because rows that are merely far from all others are mostly odd ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kitae.core.console import Progress
from kitae.core.i18n import t
from kitae.core.row_options import Way

Numbers = NDArray[np.float64]
Vectors = NDArray[np.float32]
READ_BY_MODEL: frozenset[Way] = frozenset({"ifd", "diverse", "similar"})
_POOL = 3  # times the amount that is wanted, from which spread rows are taken


@dataclass(frozen=True)
class Amount:
    """One of the three."""

    rows: int | None = None
    share: float | None = None
    tokens: int | None = None

    def times(self, factor: int) -> Amount:
        return Amount(
            self.rows and self.rows * factor, self.share and min(1.0, self.share * factor), self.tokens and self.tokens * factor
        )

    def bounds(self, every: int) -> tuple[int, float]:
        """The most rows, and the most tokens."""
        if self.tokens is not None:
            return every, self.tokens
        return (self.rows if self.rows is not None else max(1, round((self.share or 0.0) * every))), float("inf")

    def take(self, order: Sequence[int], lengths: Sequence[int]) -> list[int]:
        """A row that would break a budget of tokens is passed over for later ones that fit."""
        most, left = self.bounds(len(lengths))
        chosen: list[int] = []
        for row in order:
            if len(chosen) == most:
                break
            if lengths[row] <= left:
                chosen.append(row)
                left -= lengths[row]
        return chosen


@dataclass(frozen=True)
class Seen:
    """What is known of each row. Whatever the ways that are asked for don't need may be missing."""

    lengths: Sequence[int]  # tokens
    answers: Sequence[int]  # tokens of the answer
    draws: Numbers  # from 0 to 1, at random
    difficulty: Numbers | None = None
    judged: Numbers | None = None
    vectors: Vectors | None = None
    targets: Vectors | None = None
    left_out: dict[str, NDArray[np.bool_]] = field(default_factory=dict)  # for each reason


def select(ways: Sequence[Way], seen: Seen, amount: Amount) -> list[int]:
    """The chosen rows, best first."""
    able = np.ones(len(seen.lengths), dtype=np.bool_)
    for reason in seen.left_out.values():
        able &= ~reason
    rows = np.flatnonzero(able)
    ranking = [way for way in ways if way != "diverse"]
    orders = [_order(way, rows, seen) for way in ranking]
    if "diverse" not in ways:
        return amount.take(_together(orders, rows, seen), seen.lengths)
    if not orders:
        return _spread(rows, seen, amount, None)
    pool = amount.times(_POOL).take(_together(orders, rows, seen), seen.lengths)
    return _spread(np.array(sorted(pool), dtype=np.intp), seen, amount, pool[0] if pool else None)


def _order(way: Way, rows: NDArray[np.intp], seen: Seen) -> list[int]:
    if way == "similar":
        return _nearest(rows, seen)
    best = {"random": seen.draws, "longest": seen.answers, "ifd": seen.difficulty, "judge": seen.judged}[way]
    assert best is not None
    worst_first = np.asarray(best, dtype=np.float64)[rows]
    return [int(rows[i]) for i in np.lexsort((-seen.draws[rows], -worst_first))]


def _together(orders: Sequence[list[int]], rows: NDArray[np.intp], seen: Seen) -> list[int]:
    if len(orders) == 1:
        return orders[0]
    places = np.zeros(len(seen.lengths))
    for order in orders:
        places[order] += np.arange(len(order))
    return [int(rows[i]) for i in np.lexsort((-seen.draws[rows], places[rows]))]


def _nearest(rows: NDArray[np.intp], seen: Seen) -> list[int]:
    assert seen.vectors is not None and seen.targets is not None
    return [int(rows[at]) for at in in_turns(seen.vectors[rows] @ seen.targets.T)]


def in_turns(alike: Vectors) -> list[int]:
    """Targets, one a column, choose in turns, each the row most like it that is still free: one cannot take all."""
    wishes = np.argsort(-alike, axis=0, kind="stable")
    taken = np.zeros(len(alike), dtype=np.bool_)
    order: list[int] = []
    nexts = [0] * wishes.shape[1]
    while len(order) < len(alike):
        for target in range(wishes.shape[1]):
            while nexts[target] < len(alike) and taken[wishes[nexts[target], target]]:
                nexts[target] += 1
            if nexts[target] < len(alike):
                at = int(wishes[nexts[target], target])
                taken[at] = True
                order.append(at)
    return order


def _spread(rows: NDArray[np.intp], seen: Seen, amount: Amount, first: int | None) -> list[int]:
    """Greedy k-center: each next row is the one farthest from all that were taken, of those that still fit."""
    assert seen.vectors is not None
    vectors = np.ascontiguousarray(seen.vectors[rows], dtype=np.float32)
    lengths = np.asarray(seen.lengths)[rows]
    most, left = amount.bounds(len(seen.lengths))
    nearest = -(vectors @ vectors.mean(axis=0)) if len(rows) else np.zeros(0, np.float32)  # begins in the middle
    if first is not None:
        nearest[rows == first] = -np.inf
    free = np.ones(len(rows), dtype=np.bool_)
    chosen: list[int] = []
    progress = Progress(t("select.spreading"), min(most, len(rows)))
    try:
        while len(chosen) < most and (fits := free & (lengths <= left)).any():
            at = int(np.argmin(np.where(fits, nearest, np.inf)))
            alike = vectors @ vectors[at]
            nearest = np.maximum(nearest, alike) if chosen else alike  # likeness to the nearest that was taken
            free[at] = False
            left -= int(lengths[at])
            chosen.append(int(rows[at]))
            progress.update(len(chosen))
    finally:
        progress.close()
    return chosen
