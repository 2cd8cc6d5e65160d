"""Training, validation and test rows: split before anything multiplies them, and proven apart."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kitae.chat import Conversation
from kitae.data.identity import normalised
from kitae.data.signature import Hashes, grams

_SHINGLE = 8
_RAREST, _HOLDERS = 24, 256  # pieces of a row by which others are found, and how many of those
NEAR = 0.9  # Jaccard similarity of character 8-grams from which two rows count as the same


@dataclass(frozen=True)
class Overlap:
    """Rows of one set that are found in another: the same conversation, or nearly."""

    exact: list[tuple[str, str]]
    near: list[tuple[str, str, float]]


def without_duplicates(rows: Sequence[Conversation]) -> list[Conversation]:
    seen: set[str] = set()
    kept = []
    for row in rows:
        key = normalised(row)
        if key not in seen:
            seen.add(key)
            kept.append(row)
    return kept


def hold_back(rows: Sequence[Conversation], fraction: float, seed: int) -> tuple[list[Conversation], list[Conversation]]:
    """(training, validation). Rows with the same prompt stay together; the choice depends on the rows and the seed alone."""
    groups: dict[str, list[Conversation]] = defaultdict(list)
    for row in rows:
        asked = " ".join(m.content for m in row.prompt if row.is_text or m.role == "user")
        groups[asked.casefold()].append(row)
    order = sorted(groups, key=lambda prompt: hashlib.sha256(f"{seed}\n{prompt}".encode()).digest())
    wanted = round(len(rows) * fraction)
    training: list[Conversation] = []
    validation: list[Conversation] = []
    for i, prompt in enumerate(order, 1):  # the last group always trains, so that one that repeats can't take all rows
        (validation if len(validation) < wanted and i < len(order) else training).extend(groups[prompt])
    return training, validation


def overlap(held_out: Sequence[Conversation], training: Sequence[Conversation]) -> Overlap:
    """Which held-out rows are also in training."""
    exact_index = {normalised(row): row for row in training}
    exact, rest = [], []
    for row in held_out:
        twin = exact_index.get(normalised(row))
        if twin is not None:
            exact.append((row.source, twin.source))
        else:
            rest.append(row)
    return Overlap(exact, _near(rest, training))


def _near(held_out: Sequence[Conversation], training: Sequence[Conversation]) -> list[tuple[str, str, float]]:
    """Rows that are near share rare pieces too; what many rows have in common would make all of them candidates."""
    if not held_out:
        return []
    held = [_pieces(row) for row in held_out]
    sizes = np.array([len(pieces) for pieces in held])
    every = np.concatenate(held)
    order = np.argsort(every, kind="stable")
    holders = np.repeat(np.arange(len(held)), sizes)[order]
    values, starts, counts = np.unique(every[order], return_index=True, return_counts=True)
    best: dict[int, tuple[float, str]] = {}
    for row in training:
        pieces = _pieces(row)
        at = np.minimum(np.searchsorted(values, pieces), len(values) - 1)
        known = at[values[at] == pieces]
        rarest = known[np.argsort(counts[known], kind="stable")[:_RAREST]]
        met = [
            holders[start : start + min(count, _HOLDERS)] for start, count in zip(starts[rarest], counts[rarest], strict=True)
        ]
        candidates = np.unique(np.concatenate(met)) if met else np.empty(0, dtype=np.intp)
        ratios = len(pieces) / sizes[candidates]
        for i in candidates[(ratios >= NEAR) & (ratios <= 1 / NEAR)].tolist():
            common = len(np.intersect1d(pieces, held[i], assume_unique=True))
            similarity = common / (len(pieces) + len(held[i]) - common)
            if similarity >= NEAR and similarity > best.get(i, (0.0, ""))[0]:
                best[i] = (similarity, row.source)
    return [(held_out[i].source, twin, similarity) for i, (similarity, twin) in sorted(best.items())]


def _pieces(row: Conversation) -> Hashes:
    """Every run of so many characters, as numbers in their order. What is shorter is one piece."""
    codes = np.frombuffer(normalised(row).encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)
    return np.unique(grams(np.pad(codes, (0, max(0, _SHINGLE - len(codes)))), _SHINGLE))
