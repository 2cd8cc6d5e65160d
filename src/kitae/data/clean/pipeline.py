"""`kitae data clean`: every row of some files is kept, repaired or rejected with its reasons. What came in is never touched.

Rows are looked at in chunks, by as many processes as there are cores; what was found lies beside the output until all is
decided, so memory holds a few hundred bytes a row and the words of the set, and work that was killed goes on where it was.
"""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kitae.core.console import Progress
from kitae.core.errors import InputError
from kitae.core.files import JsonDict, alone, hash_text, staged_folder, write_json, write_text
from kitae.core.i18n import t
from kitae.core.row_options import Format
from kitae.data.clean.chunks import Chunks
from kitae.data.clean.survey import CountTexts, Decision, Rules, Survey, decide
from kitae.data.read.entries import REJECTED, UNREADABLE, as_line, each_entry, nothing_read, with_reasons
from kitae.data.read.finding import Finding
from kitae.data.read.places import contents

KEPT, REPAIRED, REPORT, PAGE = "kept.jsonl", "repaired.jsonl", "report.json", "report.html"
_EXAMPLES = 5  # of each kind, in the report
_BARS = 24
_REASONS = 12  # why rows can't be read, told apart


@dataclass(frozen=True)
class Inputs:
    sources: Sequence[Path]
    form: Format = "auto"
    limit: int | None = None  # rows of each source
    strict: bool = False  # a row that can't be read ends the work

    def fingerprint(self) -> str:
        return hash_text(contents(self.sources), self.form, str(self.limit))


@dataclass(frozen=True)
class Told:
    """What a report says of how it was made."""

    settings: str  # everything that the result depends on
    command: str
    page: Callable[[JsonDict], str]
    count: CountTexts | None = None  # the tokens of texts


def clean_files(inputs: Inputs, out: Path, rules: Rules, told: Told) -> JsonDict:
    """Writes the folder `out`, and returns its report."""
    work = out.absolute().with_name(f".{out.absolute().name}.work")
    with alone(work):
        try:
            report = _clean(inputs, out, work, rules, told)
        except InputError:  # which no repetition mends
            shutil.rmtree(work, ignore_errors=True)
            raise
        shutil.rmtree(work, ignore_errors=True)
    return report


def _clean(inputs: Inputs, out: Path, work: Path, rules: Rules, told: Told) -> JsonDict:
    name = hash_text(inputs.fingerprint(), told.settings, str(told.count))
    chunks = Chunks(work / name, rules, inputs.form, told.count)
    survey = look_at(chunks, inputs)
    _check_readable(chunks, survey, inputs.strict)
    decision = decide(survey, rules, chunks.parts_of, chunks.where)
    with staged_folder(out) as stage:
        report = _write(stage, chunks, survey, decision)
        report |= {"sources": sources_of(chunks, decision), "statistics": statistics(survey), "command": told.command}
        write_json(stage / REPORT, report)
        write_text(stage / PAGE, told.page(report))
    return report


def _check_readable(chunks: Chunks, survey: Survey, strict: bool) -> None:
    """Rows that can't be read go to the others that are rejected, but for a person who wants none, or has no others."""
    if survey.unreadable and (strict or survey.unreadable == survey.count):
        told = (meta for _, meta in chunks.each() if meta is not None)
        where, why = next((m["where"], found[2]) for m in told for found in m["against"] if found[0] == UNREADABLE)
        raise nothing_read(where, why) if survey.unreadable == survey.count else InputError("strict", where=where, why=why)


def look_at(chunks: Chunks, inputs: Inputs) -> Survey:
    """The first of two passes: each row by itself."""
    survey = Survey()
    progress = Progress(t("data.looking"), None)
    try:
        for part in chunks.run(each_entry(inputs.sources, inputs.form, inputs.limit)):
            survey.extend(part)
            progress.update(survey.count, t("data.rows-seen", rows=survey.count))
    finally:
        progress.close()
    if not survey.count:
        raise InputError("data-empty", where=", ".join(map(str, inputs.sources)))
    return survey


def _write(stage: Path, chunks: Chunks, survey: Survey, decision: Decision) -> JsonDict:
    gates: dict[str, JsonDict] = {}
    kept = repaired = 0
    names = (KEPT, REJECTED, REPAIRED)
    with (
        (stage / names[0]).open("wb") as keep,
        (stage / names[1]).open("wb") as reject,
        (stage / names[2]).open("wb") as repair,
    ):
        for row, (line, meta) in enumerate(chunks.each()):
            if not decision.dropped[row]:
                keep.write(line)
                kept += 1
                if meta and meta.get("before") is not None:
                    repaired += 1
                    before_after = {
                        "where": meta["where"],
                        "before": meta["before"],
                        "after": json.loads(line),
                        "_reasons": [Finding(*found).as_dict() for found in meta["repairs"]],
                    }
                    repair.write(as_line(before_after))
                    _count(gates, [Finding(*found) for found in meta["repairs"]], "repaired", str(meta["where"]))
                noticed = [Finding(*found) for found in meta["noticed"]] if meta else []
                noticed += decision.noticed.get(row, [])
                if noticed:
                    _count(gates, noticed, "noticed", chunks.where(row))
                continue
            reasons = [Finding(*found) for found in meta["against"]] if meta else []
            reasons = [reason for reason in reasons if not reason.habit or reason.habit not in decision.habits]
            reasons += decision.against.get(row, [])
            record = meta["before"] if meta and meta.get("before") is not None else json.loads(line)
            reject.write(as_line(with_reasons(record, [reason.as_dict() for reason in reasons])))
            _count(gates, reasons, "rejected", chunks.where(row))
    return {
        "rows": survey.count,
        "kept": kept,
        "rejected": survey.count - kept,
        "repaired": repaired,
        "gates": dict(sorted(gates.items())),
        "habits": decision.habits,
        "unread": dict(survey.unread.most_common()),
    }


def _count(gates: dict[str, JsonDict], found: Sequence[Finding], done: str, where: str) -> None:
    """A row counts once for each gate, and once for each kind."""
    for gate in dict.fromkeys(finding.gate for finding in found):
        entry = gates.setdefault(gate, {"rejected": 0, "repaired": 0, "noticed": 0, "kinds": {}, "examples": []})
        entry[done] += 1
        if gate == UNREADABLE:  # for as many reasons as there are kinds of rows
            why = next(finding.evidence for finding in found if finding.gate == gate)
            reasons, alike = entry.setdefault("reasons", {}), re.sub(r"\d+", "0", why.partition("|")[0])
            key = alike if alike in reasons or len(reasons) < _REASONS else why.partition(":")[0]
            reasons.setdefault(key, {"rows": 0, "where": where, "why": why})["rows"] += 1
        for finding in {finding.kind: finding for finding in found if finding.gate == gate}.values():
            entry["kinds"][finding.kind] = entry["kinds"].get(finding.kind, 0) + 1
            if entry["kinds"][finding.kind] <= _EXAMPLES:
                entry["examples"].append({"where": where, "kind": finding.kind, "done": done, "evidence": finding.evidence})


def statistics(survey: Survey) -> JsonDict:
    """Of all rows that could be read, repaired ones as they are afterwards."""
    found: JsonDict = {"languages": dict(survey.languages.most_common())}
    for name in ("turns", "asked", "answered", "tokens", "learned"):
        arrays = getattr(survey, name)
        if arrays:
            found[name] = _spread(np.concatenate(arrays))
    if survey.tokens:
        every = int(np.concatenate(survey.tokens).sum(dtype=np.int64))
        found["label_share"] = round(int(np.concatenate(survey.learned).sum(dtype=np.int64)) / max(1, every), 4)
    return found


def _spread(values: NDArray[Any]) -> JsonDict:
    read = values[values > 0]
    if not len(read):
        return {"total": 0}
    marks = {f"p{mark}": int(np.percentile(read, mark, method="lower")) for mark in (5, 50, 95, 99)}
    edges = np.unique(np.geomspace(1, max(2, int(read.max()) + 1), _BARS + 1).astype(np.int64))
    counts, _ = np.histogram(read, edges)
    bars = [[int(edge), int(count)] for edge, count in zip(edges, counts, strict=False)]
    return {"total": int(read.sum(dtype=np.int64)), "least": int(read.min()), **marks, "most": int(read.max()), "bars": bars}


def sources_of(chunks: Chunks, decision: Decision) -> list[JsonDict]:
    """Of each file, how many rows came in and how many were kept."""
    rows: Counter[str] = Counter()
    kept: Counter[str] = Counter()
    for row, file in enumerate(chunks.each_file()):
        rows[file] += 1
        kept[file] += not decision.dropped[row]
    return [{"path": file, "rows": count, "kept": kept[file]} for file, count in rows.items()]
