"""`kitae data split`: training, validation and test rows in files, with a proof that none is in two of them.

What belongs together stays together: rows with the same question, dialogues with the same beginning, rows about the same
document, and rows that the proof would call nearly the same. So it is groups that are dealt, after duplicates are gone.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kitae.data.duplicates import twins
from kitae.data.entries import REJECTED, Row, as_line, each_entry, none_of, read_rows, with_reasons
from kitae.data.identity import Parts, plain, untidiness
from kitae.data.rules import Finding
from kitae.data.signature import bands, whole
from kitae.data.split import overlap
from kitae.data.survey import DUPLICATES
from kitae.errors import InputError
from kitae.files import JsonDict, staged_folder, write_json
from kitae.formats import NEAR, Format

TRAIN, VALIDATION, TEST = "train", "validation", "test"
_DOCUMENT = 160  # characters of a paragraph that two rows have in common because they are about the same text
_ROUNDS = 8


@dataclass(frozen=True)
class Shares:
    validation: float = 0.1
    test: float = 0.0
    by: str = "prompt"  # or source, or a field of the rows
    stratify: str | None = None  # a field whose values are to be as frequent in each part
    seed: int = 0
    near: float = NEAR


def partition(sources: Sequence[Path], out: Path, shares: Shares, form: Format, limit: int | None, command: str) -> JsonDict:
    rows, rejected = read_rows(each_entry(sources, form, limit), form)
    total = len(rows) + len(rejected)
    rows, twice = _without_twins(rows, shares.near)
    if not rows:
        raise none_of(sources, rejected)
    for field in {shares.stratify, shares.by} - {None, "prompt", "source"}:
        if not any(field in row.record for row in rows):
            raise InputError("field-unknown", where=str(field), why=", ".join(map(str, rows[0].record))[:300])
    groups = _Groups(len(rows))
    for key in (_keys(row, shares.by) for row in rows):
        groups.note(key)
    dealt = _dealt(rows, groups, shares)
    for _ in range(_ROUNDS):
        if not _join(rows, groups, dealt):
            break
        dealt = _dealt(rows, groups, shares)
    parts = {name: [rows[i] for i in sorted(chosen)] for name, chosen in dealt.items()}
    if not parts[TRAIN] or not parts[VALIDATION] or (shares.test and not parts[TEST]):
        raise InputError("split-too-few", where=", ".join(map(str, sources)), groups=groups.count, rows=len(rows))
    report = {
        "rows": total,
        "rejected": len(rejected) + len(twice),
        "groups": groups.count,
        "parts": {name: len(found) for name, found in parts.items()},
        "proof": _proof(parts),
        "command": command,
    }
    if shares.stratify is not None:
        report["shares"] = {name: _frequencies(found, shares.stratify) for name, found in parts.items()}
    with staged_folder(out) as stage:
        for name, found in parts.items():
            (stage / f"{name}.jsonl").write_bytes(b"".join(as_line(row.record) for row in found))
        (stage / REJECTED).write_bytes(b"".join(map(as_line, [*rejected, *twice])))
        write_json(stage / "report.json", report)
    return report


def _without_twins(rows: list[Row], near: float) -> tuple[list[Row], list[JsonDict]]:
    if not rows:
        return rows, []
    parts = [Parts.of(row.talk) for row in rows]
    wholes = np.array([whole(row.talk) for row in rows], dtype=np.uint64)
    keys = bands(parts)
    untidy = np.array([untidiness(row.talk) for row in rows], dtype=np.int32)
    found = {twin.row: twin for twin in twins(wholes, keys, untidy, np.ones(len(rows), np.bool_), parts.__getitem__, near)}

    def reason(i: int) -> list[dict[str, str]]:
        twin = found[i]
        stays = rows[twin.stays].talk.source
        return [Finding(DUPLICATES, "exact" if twin.exact else "near", f"{stays} ({twin.likeness:.0%})").as_dict()]

    kept = [row for i, row in enumerate(rows) if i not in found]
    return kept, [with_reasons(dict(rows[i].record), reason(i)) for i in sorted(found)]


def _keys(row: Row, by: str) -> list[str]:
    """What ties rows together: any of these in common."""
    if by == "source":
        return [row.file]
    if by != "prompt":
        value = row.record.get(by)
        return [] if value is None else [json.dumps(value, sort_keys=True, default=str)]
    said = [m.content for m in row.talk.messages if m.role not in ("system", "assistant")]
    documents = [plain(line) for text in said for line in text.split("\n") if len(line) >= _DOCUMENT]
    return [*([] if row.talk.is_text else [f"? {plain(said[0])}"] if said else []), *documents]


class _Groups:
    """Rows that have anything in common are one group."""

    def __init__(self, size: int) -> None:
        self._parent = list(range(size))
        self._holder: dict[str, int] = {}
        self._next = 0

    def note(self, keys: Sequence[str]) -> None:
        row, self._next = self._next, self._next + 1
        for key in keys:
            self.join(row, self._holder.setdefault(hashlib.sha256(key.encode("utf-8", "replace")).hexdigest(), row))

    def join(self, a: int, b: int) -> None:
        a, b = self.of(a), self.of(b)
        self._parent[max(a, b)] = min(a, b)

    def of(self, row: int) -> int:
        while self._parent[row] != row:
            self._parent[row] = row = self._parent[self._parent[row]]
        return row

    def members(self) -> list[list[int]]:
        found: dict[int, list[int]] = defaultdict(list)
        for row in range(len(self._parent)):
            found[self.of(row)].append(row)
        return list(found.values())

    @property
    def count(self) -> int:
        return len(self.members())


def _dealt(rows: Sequence[Row], groups: _Groups, shares: Shares) -> dict[str, list[int]]:
    """Which rows go where. It depends on what the rows say and on the seed, not on their order."""
    strata: dict[str, list[list[int]]] = defaultdict(list)
    for members in groups.members():
        strata[_stratum(rows, members, shares.stratify)].append(members)
    dealt: dict[str, list[int]] = {name: [] for name in (TRAIN, VALIDATION, *([TEST] if shares.test else []))}
    owed = {TEST: 0.0, VALIDATION: 0.0}  # what rounding left over from one stratum to the next
    for name in sorted(strata):
        found = sorted(strata[name], key=lambda members: _draw(rows, members, shares.seed))
        size = sum(map(len, found))
        for part, share in ((TEST, shares.test), (VALIDATION, shares.validation)):
            owed[part] += share * size
            for members in found[::-1]:  # those that are too large train
                if owed[part] >= len(members) / 2 and (len(found) > 1 or len(strata) > 1):
                    found.remove(members)
                    dealt[part] += members
                    owed[part] -= len(members)
        for members in found:
            dealt[TRAIN] += members
    return dealt


def _stratum(rows: Sequence[Row], members: Sequence[int], field: str | None) -> str:
    if field is None:
        return ""
    counts = Counter(str(rows[i].record.get(field)) for i in members)
    return min(counts, key=lambda value: (-counts[value], value))


def _draw(rows: Sequence[Row], members: Sequence[int], seed: int) -> bytes:
    least = min(whole(rows[i].talk) for i in members)
    return hashlib.sha256(f"{seed}\n{least}".encode()).digest()


def _join(rows: Sequence[Row], groups: _Groups, dealt: dict[str, list[int]]) -> bool:
    """Makes one group of rows that the proof finds alike in two parts."""
    numbers = {row.talk.source: i for i, row in enumerate(rows)}
    joined = False
    for held, others in _pairs(dealt):
        found = overlap([rows[i].talk for i in held], [rows[i].talk for i in others])
        for a, b in (*found.exact, *((a, b) for a, b, _ in found.near)):
            groups.join(numbers[a], numbers[b])
            joined = True
    return joined


def _pairs(dealt: dict[str, list[int]]) -> list[tuple[list[int], list[int]]]:
    names = list(dealt)
    return [(dealt[held], dealt[other]) for i, held in enumerate(names) for other in names[:i]]


def _proof(parts: dict[str, list[Row]]) -> JsonDict:
    """Measured on the rows that are written, by the measure that gates use before training."""
    proof: JsonDict = {}
    names = list(parts)
    for i, held in enumerate(names):
        for other in names[:i]:
            found = overlap([row.talk for row in parts[held]], [row.talk for row in parts[other]])
            pairs = [[a, b, 1.0] for a, b in found.exact] + [[a, b, round(alike, 3)] for a, b, alike in found.near]
            proof[f"{held}/{other}"] = {"same": len(found.exact), "near": len(found.near), "pairs": pairs[:20]}
    return proof


def _frequencies(rows: Sequence[Row], field: str) -> dict[str, float]:
    counts = Counter(str(row.record.get(field)) for row in rows)
    return {name: round(count / len(rows), 4) for name, count in sorted(counts.items())}


def is_disjoint(report: JsonDict) -> bool:
    return not any(pair["same"] or pair["near"] for pair in report["proof"].values())
