"""Rows as numbers by which the same and the similar meet: a hash of the whole, and MinHash bands of pairs of tokens."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from kitae.chat import Conversation
from kitae.data.identity import Parts, normalised

Hashes = NDArray[np.uint64]
BANDS, _IN_BAND = 20, 4  # rows that share half of their pairs meet with a probability of 0.72, those that share 0.7 with 0.996
_DRAWS = np.random.default_rng(20240229)
_FACTORS = _DRAWS.integers(1, 1 << 62, BANDS * _IN_BAND, dtype=np.uint64) | np.uint64(1)
_OFFSETS = _DRAWS.integers(0, 1 << 62, BANDS * _IN_BAND, dtype=np.uint64)
_MIX = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93], dtype=np.uint64)
_STEP = np.uint64(0x9E3779B97F4A7C15)
_HIGH = np.uint64(32)
_AT_ONCE = 256  # pieces whose products stay in the cache


def whole(row: Conversation) -> int:
    return int.from_bytes(hashlib.blake2b(normalised(row).encode("utf-8", "replace"), digest_size=8).digest(), "little")


def hashed(tokens: Sequence[str]) -> Hashes:
    """The same in every process and on every machine."""
    return np.fromiter(map(_hash, tokens), dtype=np.uint64, count=len(tokens))


@lru_cache(maxsize=1 << 18)
def _hash(token: str) -> int:
    return zlib.crc32(token.encode("utf-8", "replace"))


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


def bands(parts: Parts) -> Hashes:
    """Two rows are compared where any of these is the same."""
    pieces = [_pairs(said) for said in (parts.asked, parts.answer)]
    found = np.concatenate(pieces)
    if not len(found):
        found = np.zeros(1, dtype=np.uint64)
    least = np.full(len(_FACTORS), np.iinfo(np.uint64).max, dtype=np.uint64)
    for start in range(0, len(found), _AT_ONCE):
        drawn = found[start : start + _AT_ONCE, None] * _FACTORS
        drawn += _OFFSETS
        drawn >>= _HIGH
        np.minimum(least, drawn.min(axis=0), out=least)
    keys: Hashes = (least.reshape(BANDS, _IN_BAND) * _MIX).sum(axis=1, dtype=np.uint64)
    keys ^= keys >> _HIGH
    return keys


def _pairs(tokens: Sequence[str]) -> Hashes:
    if not tokens:
        return np.empty(0, dtype=np.uint64)
    size = 3 if [len(token) for token in tokens[:64]].count(1) * 2 > min(len(tokens), 64) else 2
    hashes = hashed(tokens)
    return grams(hashes, min(size, len(tokens)))
