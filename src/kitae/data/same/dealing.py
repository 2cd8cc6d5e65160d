"""Rows dealt to parts that have nothing in common: what belongs together, or is nearly the same, goes to one of them."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from kitae.chat import Conversation
from kitae.core.row_options import NEAR
from kitae.data.same.likeness import plain
from kitae.data.same.overlap import overlap
from kitae.data.same.signature import whole

_DOCUMENT = 160  # characters of a paragraph that two rows have in common because they are about the same text
_INSTRUCTION, _FEW = 0.2, 8  # of the rows that have a paragraph; as many may always have one
_ROUNDS = 8


def ties(rows: Sequence[Conversation]) -> list[list[str]]:
    """Of each row, what ties it to others that have it too: the question, and documents that it is about. A paragraph that very
    many have is no document, but an instruction."""
    said = [[m.content for m in row.messages if m.role not in ("system", "assistant")] for row in rows]
    documents = [{plain(line) for text in texts for line in text.split("\n") if len(line) >= _DOCUMENT} for texts in said]
    counts = Counter(document for found in documents for document in found)
    most = max(_FEW, _INSTRUCTION * len(rows))
    return [
        [*([f"? {plain(texts[0])}"] if texts and not row.is_text else []), *sorted(d for d in found if counts[d] <= most)]
        for row, texts, found in zip(rows, said, documents, strict=True)
    ]


class Groups:
    """Rows that have anything in common are one group."""

    def __init__(self, tied: Sequence[Sequence[str]]) -> None:
        """`tied`: of each row, what ties it to others."""
        self._parent = list(range(len(tied)))
        holder: dict[bytes, int] = {}
        for row, keys in enumerate(tied):
            for key in keys:
                self.join(row, holder.setdefault(hashlib.sha256(key.encode("utf-8", "replace")).digest(), row))

    def join(self, a: int, b: int) -> None:
        a, b = self._of(a), self._of(b)
        self._parent[max(a, b)] = min(a, b)

    def _of(self, row: int) -> int:
        while self._parent[row] != row:
            self._parent[row] = row = self._parent[self._parent[row]]
        return row

    def members(self) -> list[list[int]]:
        found: dict[int, list[int]] = defaultdict(list)
        for row in range(len(self._parent)):
            found[self._of(row)].append(row)
        return list(found.values())


def dealt(
    rows: Sequence[Conversation],
    groups: Groups,
    shares: Mapping[str, float],
    rest: str,
    seed: int,
    strata: Sequence[str] = (),
    near: float = NEAR,
) -> dict[str, list[int]]:
    """Which rows go to which part; those of no share to `rest`. `strata`: of each row, what is to be as frequent everywhere."""
    rows = [replace(row, source=str(i)) for i, row in enumerate(rows)]
    parts = _once(rows, groups, shares, rest, seed, strata)
    for _ in range(_ROUNDS):
        if not _joined(rows, groups, parts, near):
            break
        parts = _once(rows, groups, shares, rest, seed, strata)
    return parts


def _once(
    rows: Sequence[Conversation], groups: Groups, shares: Mapping[str, float], rest: str, seed: int, strata: Sequence[str]
) -> dict[str, list[int]]:
    """It depends on what the rows say and on the seed, not on their order."""
    kinds: dict[str, list[list[int]]] = defaultdict(list)
    for members in groups.members():
        kinds[_stratum(members, strata)].append(members)
    parts: dict[str, list[int]] = {name: [] for name in (rest, *shares)}
    owed = dict.fromkeys(shares, 0.0)  # what rounding left over from one stratum to the next
    for name in sorted(kinds):
        found = sorted(kinds[name], key=lambda members: _draw(rows, members, seed))
        size = sum(map(len, found))
        for part, share in shares.items():
            owed[part] += share * size
            left: list[list[int]] = []
            for number in range(len(found) - 1, -1, -1):  # those that are too large are left
                members = found[number]
                if owed[part] >= len(members) / 2 and (len(left) + number > 0 or len(kinds) > 1):
                    parts[part] += members
                    owed[part] -= len(members)
                else:
                    left.append(members)
            found = left[::-1]
        for members in found:
            parts[rest] += members
    return {name: sorted(members) for name, members in parts.items()}


def _stratum(members: Sequence[int], strata: Sequence[str]) -> str:
    if not strata:
        return ""
    counts: dict[str, int] = defaultdict(int)
    for row in members:
        counts[strata[row]] += 1
    return min(counts, key=lambda value: (-counts[value], value))


def _draw(rows: Sequence[Conversation], members: Sequence[int], seed: int) -> bytes:
    least = min(whole(rows[i]) for i in members)
    return hashlib.sha256(f"{seed}\n{least}".encode()).digest()


def _joined(rows: Sequence[Conversation], groups: Groups, parts: Mapping[str, Sequence[int]], near: float) -> bool:
    """Makes one group of rows that are alike and were dealt to two parts; whether there were any."""
    found = [pair for held, others in pairs(parts) for pair in _alike(rows, held, others, near)]
    for held, other, _ in found:
        groups.join(int(held), int(other))
    return bool(found)


def _alike(
    rows: Sequence[Conversation], held: Sequence[int], others: Sequence[int], near: float
) -> Iterator[tuple[str, str, float]]:
    return overlap([rows[i] for i in held], [rows[i] for i in others], near).pairs


def pairs(parts: Mapping[str, Sequence[int]]) -> list[tuple[Sequence[int], Sequence[int]]]:
    names = list(parts)
    return [(parts[held], parts[other]) for i, held in enumerate(names) for other in names[:i]]
