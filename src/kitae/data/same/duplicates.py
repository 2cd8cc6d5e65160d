"""Which rows of many are the same as another, or nearly: each is compared with one that stays, never along a chain of others.

Chains would join everything in the end: A is like B, B like C, and so on to rows that have nothing in common.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kitae.data.same.likeness import Parts, likeness
from kitae.data.same.signature import BANDS, Bands, Hashes

_COMPARED, _FEW = 32, 4  # rows that one row is compared with at most; those that share a single band with it
_A_KEY = 16  # rows that stay, remembered for each key: those of a template meet all the time
_HELD = 2_000_000  # tokens of rows in memory


@dataclass(frozen=True)
class Twin:
    row: int
    stays: int
    likeness: float  # 1: the same

    @property
    def exact(self) -> bool:
        return self.likeness == 1.0


def twins(
    wholes: Hashes,
    bands: Bands,
    untidiness: NDArray[np.int32],
    alive: NDArray[np.bool_],
    parts_of: Callable[[int], Parts],
    least: float,
) -> Iterator[Twin]:
    """Of rows that are `alive`. Of the same the tidiest stays, and of equally tidy the first."""
    rows = np.flatnonzero(alive)
    rows = rows[np.lexsort((rows, untidiness[rows]))]
    _, starts, inverse = np.unique(wholes[rows], return_index=True, return_inverse=True)
    stays = rows[starts[inverse]]
    for row, other in zip(rows[stays != rows].tolist(), stays[stays != rows].tolist(), strict=True):
        yield Twin(row, other, 1.0)
    rows = rows[stays == rows]
    yield from _near(rows, bands, _Remembered(parts_of), least)


def _near(rows: NDArray[np.intp], bands: Bands, parts: _Remembered, least: float) -> Iterator[Twin]:
    meetings = _Meetings(rows, bands)
    for at in meetings.who:
        row = int(rows[at])
        twin = _best(row, [int(rows[other]) for other in meetings.before(at)], parts, least)
        if twin is not None:
            yield twin
        else:
            meetings.stay(at)


class _Meetings:
    """Who shares a band with whom: of each band that several rows have, a stretch of one long array, into which those that
    stay are written as they come. Rows are numbered in the order in which they are looked at."""

    def __init__(self, rows: NDArray[np.intp], bands: Bands) -> None:
        several = [_stretches(bands[rows, band]) for band in range(BANDS)]
        shifts = np.cumsum([0, *(len(who) for who, _ in several[:-1])])
        who = np.concatenate([who for who, _ in several])
        starts = np.concatenate([(begun + shift).astype(np.int32) for (_, begun), shift in zip(several, shifts, strict=True)])
        order = np.argsort(who, kind="stable")
        self._starts = starts[order]  # of each row, its stretches
        self._ends = np.bincount(who, minlength=len(rows)).cumsum()
        self.who: list[int] = np.unique(who).tolist()
        self._stay = np.zeros(len(who), dtype=np.int32)
        self._filled = np.zeros(len(who), dtype=np.uint8)  # at the start of each stretch

    def before(self, at: int) -> list[int]:
        """Those that share most bands first: rows with half of their words in common meet, too, and are many in some sets."""
        met: dict[int, int] = {}
        for start in self._of(at):
            for other in self._stay[start : start + int(self._filled[start])].tolist():
                met[other] = met.get(other, 0) + 1
        several = sum(count > 1 for count in met.values())
        return sorted(met, key=lambda other: -met[other])[: min(max(several, _FEW), _COMPARED)]

    def stay(self, at: int) -> None:
        for start in self._of(at):
            filled = int(self._filled[start])
            if filled < _A_KEY:
                self._stay[start + filled] = at
                self._filled[start] = filled + 1

    def _of(self, at: int) -> list[int]:
        begun = int(self._ends[at - 1]) if at else 0
        starts: list[int] = self._starts[begun : self._ends[at]].tolist()
        return starts


def _stretches(keys: NDArray[np.uint32]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Rows whose key others have too, those of one key together; and where the stretch of each begins."""
    order = np.argsort(keys, kind="stable").astype(np.int32)
    begins = np.ones(len(keys) + 1, dtype=np.bool_)
    begins[1:-1] = np.diff(keys[order]) != 0
    several = ~(begins[:-1] & begins[1:])
    begun = np.flatnonzero(begins[:-1][several])
    lengths = np.diff(np.append(begun, several.sum()))
    return order[several], np.repeat(begun, lengths)


def _best(row: int, others: list[int], parts: _Remembered, least: float) -> Twin | None:
    if not others:
        return None
    mine = parts[row]
    for other in others:
        found = likeness(mine, parts[other], least)
        if found:
            return Twin(row, other, min(found, 0.9999))
    return None


class _Remembered:
    def __init__(self, parts_of: Callable[[int], Parts]) -> None:
        self._parts_of = parts_of
        self._held: OrderedDict[int, Parts] = OrderedDict()
        self._tokens = 0

    def __getitem__(self, row: int) -> Parts:
        if row in self._held:
            self._held.move_to_end(row)
            return self._held[row]
        parts = self._held[row] = self._parts_of(row)
        self._tokens += len(parts.asked) + len(parts.answer)
        while self._tokens > _HELD and len(self._held) > 2:
            _, gone = self._held.popitem(last=False)
            self._tokens -= len(gone.asked) + len(gone.answer)
        return parts
