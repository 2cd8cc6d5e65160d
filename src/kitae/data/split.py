"""Training, validation and test rows: split before anything multiplies them, and proven apart."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from kitae.chat import Conversation
from kitae.data.identity import normalised

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
    shingles = [_shingles(row) for row in held_out]
    holders: dict[int, list[int]] = defaultdict(list)
    for i, parts in enumerate(shingles):
        for part in parts:
            holders[part].append(i)
    best: dict[int, tuple[float, str]] = {}
    for row in training:
        parts = _shingles(row)
        known = sorted((len(holders[part]), part) for part in parts if part in holders)
        candidates = {i for _, part in known[:_RAREST] for i in holders[part][:_HOLDERS]}
        for i in candidates:
            if not NEAR <= len(parts) / len(shingles[i]) <= 1 / NEAR:
                continue
            common = len(parts & shingles[i])
            similarity = common / (len(parts) + len(shingles[i]) - common)
            if similarity >= NEAR and similarity > best.get(i, (0.0, ""))[0]:
                best[i] = (similarity, row.source)
    return [(held_out[i].source, twin, similarity) for i, (similarity, twin) in sorted(best.items())]


def _shingles(row: Conversation) -> set[int]:
    text = normalised(row)
    return {hash(text[i : i + _SHINGLE]) for i in range(max(1, len(text) - _SHINGLE + 1))}
