"""`kitae data …`: what is done with rows before anything is trained on them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kitae.cli.help import Group
from kitae.cli.result import Result, grid
from kitae.core.errors import EXIT_REFUSED, InputError
from kitae.core.i18n import t
from kitae.core.row_options import FORMATS, NEAR, Format, is_format

if TYPE_CHECKING:
    from kitae.workflows import CleanReport, PreviewReport

_SHOWN = 5  # rows that could not be read

data_app = typer.Typer(help=t("help.data"), no_args_is_help=True, rich_markup_mode=None, cls=Group)


def named_format(text: str) -> Format:
    if not is_format(text):
        raise InputError("format-unknown", where=text, why=", ".join(FORMATS))
    return text


Sources = Annotated[list[Path], typer.Argument(metavar="IN", help=t("help.data-sources"))]
Out = Annotated[Path, typer.Option("--out", help=t("help.data-out"))]
Rule = Annotated[list[str] | None, typer.Option(metavar="GATE=drop|repair|keep", help=t("help.data-rule"))]
Language = Annotated[list[str] | None, typer.Option(help=t("help.data-language"))]
Evaluation = Annotated[list[Path] | None, typer.Option(help=t("help.data-evaluation"))]
Near = Annotated[float, typer.Option(min=0.5, max=1.0, help=t("help.data-near"))]
Form = Annotated[Format, typer.Option("--format", parser=named_format, metavar="NAME|FIELDS=FIELD", help=t("help.data-format"))]
Limit = Annotated[int | None, typer.Option(min=1, help=t("help.data-limit"))]
Strict = Annotated[bool, typer.Option("--strict", help=t("help.data-strict"))]


@data_app.command("preview", help=t("help.data-preview"))
def data_preview(
    path: Annotated[Path, typer.Argument(help=t("help.data-path"))],
    model: Annotated[str, typer.Option(help=t("help.target"))] = "smollm2-135m-instruct",
    rows: Annotated[int, typer.Option(min=1, help=t("help.rows"))] = 3,
    form: Form = "auto",
) -> Result:
    from kitae.workflows import preview_data

    value = preview_data(path, model, rows, form)
    left_out = [f"✗ {error['where']}: {error['what']} {error['why']}"[:200] for error in value["unreadable"][:_SHOWN]]
    return Result(value, "\n\n".join([*(str(row["text"]) for row in value["rows"]), *_unread(value), *left_out]))


@data_app.command("inspect", help=t("help.data-inspect"))
def data_inspect(
    sources: Sources,
    out: Annotated[Path | None, typer.Option("--out", help=t("help.data-inspect-out"))] = None,
    model: Annotated[str, typer.Option(help=t("help.data-model"))] = "smollm2-135m-instruct",
    rule: Rule = None,
    language: Language = None,
    evaluation: Evaluation = None,
    near: Near = NEAR,
    form: Form = "auto",
    limit: Limit = None,
) -> Result:
    from kitae.workflows import CleaningOptions, inspect_data

    value = inspect_data(sources, out, CleaningOptions(rule or [], language or [], evaluation or [], near, form, limit), model)
    return Result(value, "\n\n".join([_counts(value), _gates(value), _lengths(value), value.get("page", "")]).strip())


@data_app.command("clean", help=t("help.data-clean"))
def data_clean(
    sources: Sources,
    out: Out,
    rule: Rule = None,
    language: Language = None,
    evaluation: Evaluation = None,
    near: Near = NEAR,
    form: Form = "auto",
    limit: Limit = None,
    strict: Strict = False,
) -> Result:
    from kitae.workflows import CleaningOptions, clean_data

    value = clean_data(sources, out, CleaningOptions(rule or [], language or [], evaluation or [], near, form, limit, strict))
    return Result(value, "\n\n".join([_counts(value), _gates(value), str(out)]))


@data_app.command("dedupe", help=t("help.data-dedupe"))
def data_dedupe(
    sources: Sources, out: Out, near: Near = NEAR, form: Form = "auto", limit: Limit = None, strict: Strict = False
) -> Result:
    from kitae.workflows import CleaningOptions, clean_data

    value = clean_data(sources, out, CleaningOptions(near=near, form=form, limit=limit, strict=strict, only_duplicates=True))
    return Result(value, "\n\n".join([_counts(value), _gates(value), str(out)]))


@data_app.command("split", help=t("help.data-split"))
def data_split(
    sources: Sources,
    out: Out,
    validation: Annotated[float, typer.Option(min=0.0, max=0.9, help=t("help.data-validation"))] = 0.1,
    test: Annotated[float, typer.Option(min=0.0, max=0.9, help=t("help.data-test"))] = 0.0,
    by: Annotated[str, typer.Option(help=t("help.data-by"))] = "prompt",
    stratify: Annotated[str | None, typer.Option(help=t("help.data-stratify"))] = None,
    seed: Annotated[int, typer.Option(min=0, help=t("help.seed"))] = 0,
    near: Near = NEAR,
    form: Form = "auto",
    limit: Limit = None,
) -> Result:
    from kitae.data import Shares
    from kitae.workflows import split_data

    value = split_data(sources, out, Shares(validation, test, by, stratify, seed, near), form, limit)
    parts = grid([["", t("data.report.rows")], *([name, count] for name, count in value["parts"].items())])
    said = t("data.split", **{name: value[name] for name in ("rows", "rejected", "groups")})
    proof = t("data.proven" if value["proven"] else "data.unproven")
    return Result(value, "\n\n".join([said, parts, proof, str(out)]), 0 if value["proven"] else EXIT_REFUSED)


@data_app.command("licences", help=t("help.data-licences"))
def data_licences(
    recipe: Annotated[Path | None, typer.Argument(help=t("help.recipe-path"))] = None,
    claim: Annotated[list[str] | None, typer.Option(metavar="KIND=LICENCE", help=t("help.data-claim"))] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help=t("help.set"))] = None,
) -> Result:
    from kitae.workflows import licences

    value = licences(recipe, set_ or [], claim or [])
    works = [[t("licence.work"), t("licence.kind"), t("licence.claim"), t("licence.said-by")]]
    works += [[c["subject"], c["kind"], c["licence"], c["source"] or "–"] for c in value["claims"]]
    found = [[t("licence.act"), t("licence.reading"), t("licence.outcome"), t("licence.result")]]
    found += [[v["act"], v["reading"], v["outcome"], v["licence"] or "–"] for v in value["verdicts"]]
    told = dict.fromkeys(line for v in value["verdicts"] for line in (*v["reasons"], *v["notices"]))
    told |= dict.fromkeys(t("licence.name", name=v["name"]) for v in value["verdicts"] if v["name"])
    if named := dict.fromkeys(who for v in value["verdicts"] for who in v["attribution"]):
        told[t("licence.attribution", who=", ".join(named))] = None
    return Result(value, "\n\n".join([grid(works), grid(found), "\n".join(f"· {line}" for line in told), t("licence.notes")]))


def _unread(report: CleanReport | PreviewReport) -> list[str]:
    from kitae.data import counted

    return [f"{t('data.report.unread')}: {counted(report['unread'])}"] if report["unread"] else []


def _counts(report: CleanReport) -> str:
    return t("data.counts", **{name: report[name] for name in ("rows", "kept", "rejected", "repaired")})


def _gates(report: CleanReport) -> str:
    """Each kind of defect, with the first row that has it."""
    head = [t("data.report.gate"), t("data.report.kind"), t("data.report.rows"), t("data.report.example")]
    rows = []
    for gate, entry in report["gates"].items():
        for reason in sorted(entry.get("reasons", {}).values(), key=lambda reason: -reason["rows"]):
            example = f"{reason['where'].rpartition('/')[2]}  {reason['why']}"
            rows.append([gate, t(f"finding.{gate}.unreadable"), reason["rows"], example[:70]])
        for kind, count in sorted(entry["kinds"].items(), key=lambda item: -item[1]):
            if "reasons" in entry:
                continue
            first = next(found for found in entry["examples"] if found["kind"] == kind)
            example = f"{first['where'].rpartition('/')[2]}  {first['evidence']}"
            rows.append([gate, t(f"finding.{gate}.{kind}"), count, example[:70]])
    found = grid([head, *rows]) if rows else t("data.nothing-found")
    habits = [f"{t('data.report.habits')}: {', '.join(report['habits'])}"] if report["habits"] else []
    return "\n".join([found, *habits, *_unread(report)])


def _lengths(report: CleanReport) -> str:
    from kitae.data import spelled_warning

    told = report["statistics"]
    marks = ("least", "p5", "p50", "p95", "p99", "most")
    names = [name for name in ("tokens", "learned", "turns") if told.get(name, {}).get("total")]
    table = grid(
        [
            ["", *marks, t("data.report.total")],
            *([t(f"data.length.{name}"), *(told[name][mark] for mark in marks), told[name]["total"]] for name in names),
        ]
    )
    languages = ", ".join(f"{name} {count}" for name, count in told["languages"].items())
    share = t("data.label-share", share=f"{told.get('label_share', 0):.1%}")
    spelled = f"\n\n{spelled_warning(report['spelled'])}" if report["spelled"] else ""
    return f"{table}\n\n{share}\n{t('data.report.languages')}: {languages}{spelled}"
