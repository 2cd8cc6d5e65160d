"""`kitae data split`: training, validation and test rows in files, with a proof that none is in two of them.

What belongs together stays together: rows with the same question, dialogues with the same beginning, rows about the same
document, and rows that the proof would call nearly the same. So it is groups that are dealt, after duplicates are gone.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kitae.core.errors import InputError
from kitae.core.files import JsonDict, staged_folder, write_json
from kitae.core.row_options import NEAR, Format
from kitae.data.clean.survey import DUPLICATES
from kitae.data.read.entries import REJECTED, Row, as_line, each_entry, none_of, read_rows, with_reasons
from kitae.data.read.finding import Finding
from kitae.data.same import Groups, Parts, bands, dealt, overlap, ties, twins, untidiness, whole

TRAIN, VALIDATION, TEST = "train", "validation", "test"


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
    groups = Groups(_keys(rows, shares.by))
    wanted = {**({TEST: shares.test} if shares.test else {}), VALIDATION: shares.validation}
    strata = [str(row.record.get(shares.stratify)) for row in rows] if shares.stratify is not None else []
    parts = dealt([row.talk for row in rows], groups, wanted, TRAIN, shares.seed, strata, shares.near)
    chosen = {name: [rows[i] for i in parts[name]] for name in (TRAIN, VALIDATION, TEST) if name in parts}
    if not chosen[TRAIN] or not chosen[VALIDATION] or (shares.test and not chosen[TEST]):
        raise InputError("split-too-few", where=", ".join(map(str, sources)), groups=len(groups.members()), rows=len(rows))
    report = {
        "rows": total,
        "rejected": len(rejected) + len(twice),
        "groups": len(groups.members()),
        "parts": {name: len(found) for name, found in chosen.items()},
        "proof": _proof(chosen, shares.near),
        "command": command,
    }
    if shares.stratify is not None:
        report["shares"] = {name: _frequencies(found, shares.stratify) for name, found in chosen.items()}
    with staged_folder(out) as stage:
        for name, found in chosen.items():
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


def _keys(rows: Sequence[Row], by: str) -> list[list[str]]:
    """What ties rows together: any of these in common."""
    if by == "prompt":
        return ties([row.talk for row in rows])
    if by == "source":
        return [[row.file] for row in rows]
    values = [row.record.get(by) for row in rows]
    return [[] if value is None else [json.dumps(value, sort_keys=True, default=str)] for value in values]


def _proof(parts: dict[str, list[Row]], near: float) -> JsonDict:
    """Measured on the rows that are written, by the measure that gates use before training."""
    proof: JsonDict = {}
    names = list(parts)
    for i, held in enumerate(names):
        for other in names[:i]:
            found = overlap([row.talk for row in parts[held]], [row.talk for row in parts[other]], near)
            pairs = [[a, b, round(alike, 3)] for a, b, alike in found.pairs]
            proof[f"{held}/{other}"] = {"same": len(found.exact), "near": len(found.near), "pairs": pairs[:20]}
    return proof


def _frequencies(rows: Sequence[Row], field: str) -> dict[str, float]:
    counts = Counter(str(row.record.get(field)) for row in rows)
    return {name: round(count / len(rows), 4) for name, count in sorted(counts.items())}


def is_disjoint(report: JsonDict) -> bool:
    return not any(pair["same"] or pair["near"] for pair in report["proof"].values())
