"""`kitae data inspect`, `clean`, `dedupe` and `split`."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import cast, get_args

from kitae import __version__
from kitae.core import interruption
from kitae.core.console import console
from kitae.core.errors import InputError, Interrupted
from kitae.core.files import hash_text, write_text
from kitae.core.row_options import LANGUAGES_KNOWN, NEAR, REPAIRABLE, Action, Format
from kitae.data import (
    ACTIONS,
    KEPT,
    PAGE,
    Inputs,
    Rules,
    Shares,
    Told,
    check_out,
    clean_files,
    contents,
    each_conversation,
    is_disjoint,
    partition,
    read_evaluations,
    report_page,
)
from kitae.workflows.results import CleanReport, SplitReport


@dataclass(frozen=True)
class CleaningOptions:
    """What a person asks for, as it stands on the command line or in a recipe."""

    rules: Sequence[str] = ()  # GATE=drop|repair|keep
    languages: Sequence[str] = ()
    evaluations: Sequence[Path] = ()
    near: float = NEAR
    form: Format = "auto"
    limit: int | None = None
    strict: bool = False
    only_duplicates: bool = False

    def made(self) -> Rules:
        unknown = [language for language in self.languages if language not in LANGUAGES_KNOWN]
        if unknown:
            raise InputError("language-unknown", where=", ".join(unknown), why=", ".join(LANGUAGES_KNOWN))
        rules = [*map(_rule, self.rules)]
        twice = [gate for gate, count in Counter(gate for gate, _ in rules).items() if count > 1]
        if twice:
            raise InputError("rule-twice", where=", ".join(twice))
        actions = {**ACTIONS, **dict(rules)}
        evaluations = read_evaluations(self.evaluations, [self.form])
        return Rules(actions, tuple(self.languages), self.near, evaluations, not self.only_duplicates)

    def settings(self) -> str:
        for path in self.evaluations:
            if not path.exists():
                raise InputError("file-missing", where=str(path))
        parts = (*sorted(self.rules), "", *self.languages, "", contents(self.evaluations))
        return hash_text(__version__, *parts, str(self.near), str(self.only_duplicates))


def clean_data(sources: Sequence[Path], out: Path, wanted: CleaningOptions) -> CleanReport:
    """Writes `out`, and returns its report."""
    check_out(out, sources)
    command = console.again("clean_data")
    try:
        return {**_cleaned(sources, out, wanted, Told(wanted.settings(), command, report_page)), "folder": str(out)}
    except KeyboardInterrupt as error:
        raise Interrupted("data-interrupted", where=command) from error


def inspect_data(sources: Sequence[Path], out: Path | None, wanted: CleaningOptions, model: str) -> CleanReport:
    """What cleaning would do and how long rows are; of all that it would write, only the report is kept."""
    from kitae.data import LOOKED_AT, spelled_languages
    from kitae.models import TokenCounter, light_vocabulary

    if out is not None:
        check_out(out, sources)
    source = _tokenizer_of(model)
    told = Told(wanted.settings(), console.again("inspect_data"), report_page, TokenCounter(source))
    with tempfile.TemporaryDirectory() as name:
        report = _cleaned(sources, Path(name) / "rows", wanted, told)
        kept = Path(name) / "rows" / KEPT
        rows = each_conversation(kept, wanted.form) if report["kept"] else iter(())
        some = [*islice(rows, 0, None, max(1, report["kept"] // LOOKED_AT))]
        report["spelled"] = spelled_languages(light_vocabulary(source), some)
    if out is not None:
        write_text(out / PAGE, report_page({**report}))
        report = {**report, "page": str(out / PAGE)}
    return report


def _tokenizer_of(model: str) -> str:
    """What its tokenizer can be read from without opening, or converting, the model."""
    from kitae.models import STARTERS, locate_tokenizer

    source = STARTERS[model][0]() if model in STARTERS else Path(model).expanduser()
    if source.suffix != ".gguf" or not source.is_file():
        source = locate_tokenizer(model)
        if not (source / "tokenizer.json").is_file():
            raise InputError("no-fast-tokenizer", where=model)
    return str(source.absolute())


def split_data(
    sources: Sequence[Path], out: Path, shares: Shares, form: Format = "auto", limit: int | None = None
) -> SplitReport:
    """Writes the parts and their report; `proven` says whether none of their rows is in two."""
    check_out(out, sources)
    if not shares.validation > 0:
        raise InputError("split-none", where="--validation")
    if shares.validation + shares.test >= 1:
        raise InputError("split-shares", where=f"{shares.validation} + {shares.test}")
    report = partition(sources, out, shares, form, limit, console.again("split_data"))
    return cast("SplitReport", {**report, "proven": is_disjoint(report), "folder": str(out)})


def _cleaned(sources: Sequence[Path], out: Path, wanted: CleaningOptions, told: Told) -> CleanReport:
    inputs = Inputs(sources, wanted.form, wanted.limit, wanted.strict)
    with interruption.heard():
        return cast("CleanReport", clean_files(inputs, out, wanted.made(), told))


def _rule(text: str) -> tuple[str, Action]:
    gate, equals, action = text.partition("=")
    gate = gate if gate.startswith("data.") else f"data.{gate}"
    if not equals or gate not in ACTIONS or action not in get_args(Action):
        raise InputError("rule-unknown", where=text, why=", ".join(ACTIONS), actions=", ".join(get_args(Action)))
    if action == "repair" and gate not in REPAIRABLE:
        raise InputError("rule-no-repair", where=text, why=", ".join(REPAIRABLE))
    return gate, action  # type: ignore[return-value]  # just checked
