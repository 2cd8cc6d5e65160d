"""Rows as numbers by which the same and the similar meet: a hash of the whole, and MinHash bands of pairs of tokens."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from kitae.chat import Conversation
from kitae.data.same.likeness import Parts, normalised

Hashes = NDArray[np.uint64]
Bands = NDArray[np.uint32]  # one in a billion pairs meets by chance, and is compared in vain
BANDS, _IN_BAND = 20, 4  # rows that share half of their pairs meet with a probability of 0.72, those that share 0.7 with 0.996
_DRAWS = np.random.default_rng(20240229)
_FACTORS = _DRAWS.integers(1, 1 << 62, BANDS * _IN_BAND, dtype=np.uint64) | np.uint64(1)
_OFFSETS = _DRAWS.integers(0, 1 << 62, BANDS * _IN_BAND, dtype=np.uint64)
_MIX = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93], dtype=np.uint64)
_STEP = np.uint64(0x9E3779B97F4A7C15)
_HIGH = np.uint64(32)
_ROWS = 1000  # at once
_REMEMBERED = 1 << 18
_AT_ONCE = 1 << 14  # pieces whose products stay in the cache


def whole(row: Conversation) -> int:
    return int.from_bytes(hashlib.blake2b(normalised(row).encode("utf-8", "replace"), digest_size=8).digest(), "little")


def hashed(tokens: Sequence[str]) -> Hashes:
    """The same in every process and on every machine."""
    return np.fromiter(map(_known.__getitem__, tokens), dtype=np.uint64, count=len(tokens))


class _Known(dict[str, int]):
    """Numbers of tokens, as many as memory is to hold; asked a million times a second."""

    def __missing__(self, token: str) -> int:
        if len(self) >= _REMEMBERED:
            self.clear()
        number = self[token] = zlib.crc32(token.encode("utf-8", "replace"))
        return number


_known = _Known()


def grams(hashes: Hashes, size: int) -> Hashes:
    """A number for each run of so many tokens."""
    count = len(hashes) - size + 1
    if count <= 0:
        return np.empty(0, dtype=np.uint64)
    total = np.zeros(count, dtype=np.uint64)
    for i in range(size):
        total = (total + hashes[i : i + count]) * _STEP
        total ^= total >> _HIGH
    return total


def bands(rows: Sequence[Parts]) -> Bands:
    """[rows, bands]: two rows are compared where any of these is the same."""
    some = [_bands(rows[start : start + _ROWS]) for start in range(0, len(rows), _ROWS)]
    return np.concatenate(some) if some else np.empty((0, BANDS), dtype=np.uint32)


def _bands(rows: Sequence[Parts]) -> Bands:
    keys = np.empty((len(rows), BANDS), dtype=np.uint32)
    texts = [text for row in rows for text in (row.asked, row.answer)]
    pieces, counts = _pairs(texts)
    of_rows = counts.reshape(-1, 2).sum(1)
    pieces, of_rows = _never_none(pieces, of_rows)
    ends = of_rows.cumsum()
    first = 0
    while first < len(rows):
        begun = ends[first] - of_rows[first]
        last = max(first + 1, int(np.searchsorted(ends, begun + _AT_ONCE, side="right")))
        starts = ends[first:last] - of_rows[first:last] - begun
        keys[first:last] = _signed(pieces[begun : ends[last - 1]], starts)
        first = last
    return keys


def _signed(pieces: Hashes, starts: NDArray[np.int64]) -> Bands:
    least = np.empty((len(starts), len(_FACTORS)), dtype=np.uint64)
    drawn = np.empty_like(pieces)
    for i, (factor, offset) in enumerate(zip(_FACTORS, _OFFSETS, strict=True)):
        np.multiply(pieces, factor, out=drawn)
        np.add(drawn, offset, out=drawn)
        np.right_shift(drawn, _HIGH, out=drawn)
        least[:, i] = np.minimum.reduceat(drawn, starts)
    keys: Hashes = (least.reshape(-1, BANDS, _IN_BAND) * _MIX).sum(axis=-1, dtype=np.uint64)
    mixed: Bands = (keys ^ (keys >> _HIGH)).astype(np.uint32)
    return mixed


def _never_none(pieces: Hashes, counts: NDArray[np.int64]) -> tuple[Hashes, NDArray[np.int64]]:
    """Rows that say nothing get a piece, which they have in common."""
    if counts.all():
        return pieces, counts
    return np.insert(pieces, counts.cumsum()[counts == 0], 0), np.maximum(counts, 1)


def _pairs(texts: Sequence[Sequence[str]]) -> tuple[Hashes, NDArray[np.int64]]:
    """Of each text, one after another, its runs of two tokens; of three where most are single characters; and how many."""
    lengths = np.array([len(text) for text in texts], dtype=np.int64)
    sizes = np.minimum([_run(text) for text in texts], lengths)
    hashes = hashed(list(chain.from_iterable(texts)))
    size = np.repeat(sizes, lengths)
    left = np.repeat(lengths.cumsum(), lengths) - np.arange(len(hashes))  # tokens of the text from here on
    found = np.zeros_like(hashes)
    total = np.zeros_like(hashes)
    for i in range(3):
        total[: len(total) - i] += hashes[i:]
        total *= _STEP
        total ^= total >> _HIGH
        np.copyto(found, total, where=size == i + 1)
    return found[left >= size], np.maximum(lengths - sizes + 1, 0) * (lengths > 0)


def _run(tokens: Sequence[str]) -> int:
    return 3 if [len(token) for token in tokens[:64]].count(1) * 2 > min(len(tokens), 64) else 2
