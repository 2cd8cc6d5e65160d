"""Which rows of one set are also in another: the same conversation, or nearly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from kitae.chat import Conversation
from kitae.core.row_options import NEAR
from kitae.data.same.likeness import Parts, likeness, normalised
from kitae.data.same.signature import BANDS, Bands, Hashes, bands, grams

_COMPARED = 32  # rows that one row is compared with at most: those that share most bands with it
_OF_A_KEY = 64  # rows that are met by one key: those of a template have it all
_AT_ONCE = 1000
_SHINGLE = 8  # characters
_RAREST, _HOLDERS = 24, 256  # pieces of a row by which others are found, and how many of those
_LETTERS = 0.9  # of the pieces of two rows together, at least as many in common


@dataclass(frozen=True)
class Overlap:
    """Sources of held-out rows and of their twins, with the likeness of the near ones."""

    exact: list[tuple[str, str]]
    near: list[tuple[str, str, float]]

    @property
    def pairs(self) -> Iterator[tuple[str, str, float]]:
        yield from ((held, twin, 1.0) for held, twin in self.exact)
        yield from self.near


def without_duplicates(rows: Sequence[Conversation]) -> list[Conversation]:
    seen: set[str] = set()
    kept = []
    for row in rows:
        key = normalised(row)
        if key not in seen:
            seen.add(key)
            kept.append(row)
    return kept


def overlap(held_out: Sequence[Conversation], training: Sequence[Conversation], near: float = NEAR) -> Overlap:
    """Which held-out rows are also in training."""
    exact_index = {normalised(row): row for row in training}
    exact, rest = [], []
    for row in held_out:
        twin = exact_index.get(normalised(row))
        if twin is not None:
            exact.append((row.source, twin.source))
        else:
            rest.append(row)
    return Overlap(exact, [*_near(rest, training, near)])


def _near(held_out: Sequence[Conversation], training: Sequence[Conversation], near: float) -> Iterator[tuple[str, str, float]]:
    """Rows that cleaning would call duplicates, and rows that are letter by letter nearly the same: those that differ in a
    number are two rows, but the one is no test of having learned the other."""
    if not held_out or not training:
        return
    words, letters = _by_words(held_out, training, near), _by_letters(held_out, training, max(near, _LETTERS))
    for row in sorted(words.keys() | letters.keys()):
        similarity, twin = max(words.get(row, (0.0, -1)), letters.get(row, (0.0, -1)))
        yield held_out[row].source, training[twin].source, min(similarity, 0.9999)


Best = dict[int, tuple[float, int]]  # of held-out rows: how alike the likest training row is, and which it is


def _by_words(held_out: Sequence[Conversation], training: Sequence[Conversation], near: float) -> Best:
    met = _meetings(_keys(held_out), _keys(training))
    parts: dict[int, Parts] = {}
    best: Best = {}
    for number, row in enumerate(held_out):
        mine = Parts.of(row)
        for other, _ in met[number].most_common(_COMPARED):
            theirs = parts.get(other) or parts.setdefault(other, Parts.of(training[other]))
            similarity = likeness(mine, theirs, near)
            if similarity > best.get(number, (0.0, 0))[0]:
                best[number] = (similarity, other)
    return best


def _keys(rows: Sequence[Conversation]) -> Bands:
    """In parts, because words take many times the room of their keys."""
    some = [bands([Parts.of(row) for row in rows[start : start + _AT_ONCE]]) for start in range(0, len(rows), _AT_ONCE)]
    return np.concatenate(some)


def _meetings(held_out: Bands, training: Bands) -> list[Counter[int]]:
    """Of each held-out row, the training rows that share bands with it, and how many."""
    met: list[Counter[int]] = [Counter() for _ in range(len(held_out))]
    for band in range(BANDS):
        order = np.argsort(training[:, band], kind="stable")
        values = training[order, band]
        starts = np.searchsorted(values, held_out[:, band], "left")
        ends = np.searchsorted(values, held_out[:, band], "right")
        for row in np.flatnonzero(ends > starts).tolist():
            met[row].update(order[starts[row] : min(int(ends[row]), int(starts[row]) + _OF_A_KEY)].tolist())
    return met


def _by_letters(held_out: Sequence[Conversation], training: Sequence[Conversation], least: float) -> Best:
    """Rows that are near share rare pieces too; what many rows have in common would make all of them candidates."""
    held = [_pieces(row) for row in held_out]
    sizes = np.array([len(pieces) for pieces in held])
    every = np.concatenate(held)
    order = np.argsort(every, kind="stable")
    holders = np.repeat(np.arange(len(held)), sizes)[order]
    values, starts, counts = np.unique(every[order], return_index=True, return_counts=True)
    best: Best = {}
    for number, row in enumerate(training):
        pieces = _pieces(row)
        at = np.minimum(np.searchsorted(values, pieces), len(values) - 1)
        known = at[values[at] == pieces]
        rarest = known[np.argsort(counts[known], kind="stable")[:_RAREST]]
        met = [
            holders[start : start + min(count, _HOLDERS)] for start, count in zip(starts[rarest], counts[rarest], strict=True)
        ]
        candidates = np.unique(np.concatenate(met)) if met else np.empty(0, dtype=np.intp)
        ratios = len(pieces) / sizes[candidates]
        for i in candidates[(ratios >= least) & (ratios <= 1 / least)].tolist():
            common = len(np.intersect1d(pieces, held[i], assume_unique=True))
            similarity = common / (len(pieces) + len(held[i]) - common)
            if similarity >= least and similarity > best.get(i, (0.0, 0))[0]:
                best[i] = (similarity, number)
    return best


def _pieces(row: Conversation) -> Hashes:
    """Every run of so many characters, as numbers in their order. What is shorter is one piece."""
    codes = np.frombuffer(normalised(row).encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)
    return np.unique(grams(np.pad(codes, (0, max(0, _SHINGLE - len(codes)))), _SHINGLE))
