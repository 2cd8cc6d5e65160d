"""`kitae data synth`: rows that a model writes after the example of others.

The folder of the result is where the work goes on, too: every call that was answered is in its `calls.jsonl`, and the same
command, perhaps with more rows or a larger budget, asks only for what is not there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from kitae.ask import Budget, ClientSpec, Ledger, Spent
from kitae.core import interruption
from kitae.core.console import Progress, console
from kitae.core.errors import InputError, Interrupted, KitaeError
from kitae.core.files import JsonDict, alone, hash_text, read_json, write_json, write_jsonl
from kitae.core.i18n import t
from kitae.core.libraries import quiet_libraries
from kitae.curate.prompts import version as prompts_version
from kitae.curate.synth import (
    METHODS,
    Document,
    Grown,
    Growth,
    Task,
    grow,
    nearest_documents,
    read_documents,
    read_tasks,
    variety,
)
from kitae.data import Evaluations, contents, language_of, read_evaluations

_SETTINGS, _CALLS, _REPORT = "settings.json", "calls.jsonl", "report.json"


@dataclass(frozen=True)
class Synthesis:
    growth: Growth
    writer: ClientSpec
    judge: ClientSpec | None = None  # default: the writer
    corpus: tuple[Path, ...] = ()
    evaluations: tuple[Path, ...] = ()
    budget: Budget = field(default_factory=Budget)

    def check(self) -> None:
        method = METHODS[self.growth.method]
        if method.needs_documents != bool(self.corpus):
            raise InputError("synth-corpus" if method.needs_documents else "synth-no-corpus", where=self.growth.method)
        if (self.growth.keep == "consistent") != (self.growth.answers > 1):
            raise InputError("synth-answers", where=f"--keep {self.growth.keep}", count=self.growth.answers)
        if self.judge is not None and self.growth.keep != "judged":
            raise InputError("synth-judge", where=self.judge.who)
        if self.budget.money is not None and not any(self.budget.price):
            raise InputError("synth-price", where=str(self.budget.money))
        if self.growth.method == "craft" and self.growth.answers > 1:
            raise InputError("synth-craft-answers")


class SynthReport(TypedDict):
    method: str
    writer: str
    wanted: int
    kept: int
    rejected: int
    ended: str
    rounds: int
    reasons: dict[str, int]
    spent: dict[str, Any]
    variety: dict[str, Any]
    licence: str
    command: str
    folder: NotRequired[str]


def synthesise(seeds: Sequence[Path], out: Path, wanted: Synthesis, limit: int | None = None) -> SynthReport:
    """Writes rows with their lineage, those that were not kept with their reasons, all calls, and a report."""
    wanted.check()
    wanted.writer.check()
    if wanted.judge is not None:
        wanted.judge.check()
    command = console.again("synthesise")
    with interruption.heard():
        try:
            unreadable: list[InputError] = []
            tasks = read_tasks(seeds, limit, unreadable.append)
            if unreadable:
                console.say(t("synth.unreadable", count=len(unreadable), first=unreadable[0].where))
            evaluations = read_evaluations(wanted.evaluations)
            tasks = _unexamined(tasks, evaluations)
            documents = nearest_documents(tasks, read_documents(wanted.corpus)) if wanted.corpus else []
            if wanted.corpus and not documents:
                raise InputError("no-passages", where=", ".join(map(str, wanted.corpus)))
            settings = _settings(seeds, limit, wanted)
            growth = replace(wanted.growth, language=_language(wanted.growth, tasks), writer=wanted.writer.model)
            wanted = replace(wanted, growth=growth)
            _take(out, settings, growth.rows)
            with alone(out):
                return _synthesise(wanted, tasks, documents, evaluations, out, command)
        except KeyboardInterrupt as error:
            raise Interrupted("data-interrupted", where=command) from error


def _language(growth: Growth, tasks: Sequence[Task]) -> str:
    """The one that is wanted; else that of most seeds."""
    if growth.languages:
        return growth.languages[0]
    spoken = Counter(language_of(f"{task.question}\n{task.answer}") for task in tasks)
    return next((language for language, _ in spoken.most_common() if language is not None), "en")


def _settings(seeds: Sequence[Path], limit: int | None, wanted: Synthesis) -> JsonDict:
    """What the result depends on, but for how much of it is wanted."""
    growth = wanted.growth
    files = contents([*seeds, *wanted.corpus, *wanted.evaluations])
    judge = wanted.judge.who if wanted.judge else ""
    made = hash_text(prompts_version(), files, str(limit), repr(replace(growth, rows=0)), wanted.writer.who, judge)
    return {"method": growth.method, "writer": wanted.writer.who, "settings": made}


def _unexamined(tasks: Sequence[Task], evaluations: Evaluations | None) -> list[Task]:
    """What grows from an exam is about the exam, however unlike it looks."""
    found = [(task, evaluations.find(task.row) if evaluations else None) for task in tasks]
    leaks = [finding for _, finding in found if finding is not None]
    if leaks:
        console.say(t("synth.examined", count=len(leaks), first=leaks[0].evidence))
    left = [task for task, finding in found if finding is None]
    if not left:
        raise InputError("seeds-examined", where=leaks[0].evidence)
    return left


def _take(out: Path, settings: JsonDict, rows: int) -> None:
    """A new folder, or one in which the same was begun."""
    if out.exists():
        if not out.is_dir() or (any(out.iterdir()) and not (out / _SETTINGS).is_file()):
            raise InputError("out-not-empty", where=str(out))
        if (out / _SETTINGS).is_file() and read_json(out / _SETTINGS) != settings:
            raise InputError("synth-other", where=str(out))
        kept = read_json(out / _REPORT)["kept"] if (out / _REPORT).is_file() else 0
        if kept > rows:
            raise InputError("synth-fewer", where=str(out), count=kept)
    write_json(out / _SETTINGS, settings)


def _synthesise(
    wanted: Synthesis,
    tasks: Sequence[Task],
    documents: Sequence[Document],
    evaluations: Evaluations | None,
    out: Path,
    command: str,
) -> SynthReport:
    quiet_libraries()
    growth, budget = wanted.growth, wanted.budget
    progress = Progress(t("synth.writing"), growth.rows)
    rows = 0

    def show(spent: Spent) -> None:
        money = f" {budget.cost(spent.asked, spent.said):.4f}" if any(budget.price) else ""
        progress.update(rows, t("synth.spent", calls=spent.calls, tokens=spent.asked + spent.said) + money)

    def kept(count: int) -> None:
        nonlocal rows
        rows = count

    clients = [wanted.writer.open()] + ([wanted.judge.open()] if wanted.judge else [])
    try:
        ledger = Ledger(out / _CALLS, budget, show)
        ask, judge = partial(ledger.ask, clients[0]), partial(ledger.ask, clients[-1])
        grown = grow(growth, tasks, documents, ask, judge, evaluations, kept)
    finally:
        progress.close()
        for client in clients:
            client.close()
    report = _report(wanted, tasks, grown, ledger, command)
    write_jsonl(out / "kept.jsonl", grown.kept)
    write_jsonl(out / "rejected.jsonl", grown.rejected)
    write_json(out / _REPORT, report)
    if grown.failure is not None:
        raise grown.failure
    if grown.ended == "budget" and not ledger.spent.calls:
        raise InputError("budget-small", tokens=ledger.short_of)
    if grown.ended in ("barren", "nothing-left") and not grown.kept:
        raise KitaeError("synth-barren", where=str(out / "rejected.jsonl"), why=_commonest(grown))
    return {**report, "folder": str(out)}


def _report(wanted: Synthesis, tasks: Sequence[Task], grown: Grown, ledger: Ledger, command: str) -> SynthReport:
    growth = wanted.growth
    return {
        "method": growth.method,
        "writer": wanted.writer.who,
        "wanted": growth.rows,
        "kept": len(grown.kept),
        "rejected": len(grown.rejected),
        "ended": grown.ended,
        "rounds": grown.rounds,
        "reasons": grown.reasons(),
        "spent": ledger.spent.as_dict(ledger.budget),
        "variety": {
            "kept": variety([row["messages"][0]["content"] for row in grown.kept]),
            "seeds": variety([task.question for task in tasks]),
        },
        "licence": ", ".join(growth.licences) or "unknown",
        "command": command,
    }


def _commonest(grown: Grown) -> str:
    """Why most drafts were rejected, with one of them."""
    gate = next((gate for gate in grown.reasons() if gate != "synth.surplus"), "–")
    reasons = (reason for row in grown.rejected for reason in row["_reasons"] if reason["gate"] == gate)
    said = t(f"synth.because.{gate}") if gate.startswith("synth.") else gate
    return f"{said}: {next(reasons, {'evidence': ''})['evidence']}"
