"""Which rows of many are the same as another, or nearly: each is compared with one that stays, never along a chain of others.

Chains would join everything in the end: A is like B, B like C, and so on to rows that have nothing in common.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kitae.data.identity import Parts, likeness
from kitae.data.signature import BANDS, Hashes

_COMPARED = 64  # rows that one row is compared with at most
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
    bands: NDArray[np.uint64],
    untidiness: NDArray[np.int32],
    alive: NDArray[np.bool_],
    parts_of: Callable[[int], Parts],
    least: float,
) -> Iterator[Twin]:
    """Of rows that are `alive`. Of the same the tidiest stays, and of equally tidy the first."""
    rows = np.flatnonzero(alive)
    rows = rows[np.lexsort((rows, untidiness[rows]))]
    first: dict[int, int] = {}
    _, starts, inverse = np.unique(wholes[rows], return_index=True, return_inverse=True)
    stays = rows[starts[inverse]]
    for row, other in zip(rows[stays != rows].tolist(), stays[stays != rows].tolist(), strict=True):
        first[row] = other
        yield Twin(row, other, 1.0)
    rows = rows[stays == rows]
    yield from _near(rows, bands, _Remembered(parts_of), least)


def _near(rows: NDArray[np.intp], bands: NDArray[np.uint64], parts: _Remembered, least: float) -> Iterator[Twin]:
    shared = np.zeros((len(rows), BANDS), dtype=np.bool_)
    for band in range(BANDS):
        _, inverse, counts = np.unique(bands[rows, band], return_inverse=True, return_counts=True)
        shared[:, band] = counts[inverse] > 1
    meeting: dict[tuple[int, int], list[int]] = defaultdict(list)
    for at in np.flatnonzero(shared.any(axis=1)):
        row = int(rows[at])
        keys = [(band, int(bands[row, band])) for band in np.flatnonzero(shared[at]).tolist()]
        others = dict.fromkeys(other for key in keys for other in meeting[key])
        twin = _best(row, list(others)[:_COMPARED], parts, least)
        if twin is not None:
            yield twin
            continue
        for key in keys:
            if len(meeting[key]) < _A_KEY:
                meeting[key].append(row)


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
