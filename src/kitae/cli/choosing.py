"""`kitae data select`, `synth` and `pull`: fewer rows, more rows, and rows of others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import urlsplit

import typer

from kitae.cli.data import Evaluation, Form, Limit, Out, Sources, data_app
from kitae.cli.result import Result, grid
from kitae.core.files import JsonDict
from kitae.core.i18n import t
from kitae.core.row_options import LANGUAGES_KNOWN

if TYPE_CHECKING:
    from kitae.curate import SelectReport, SynthReport

_WAYS = "random|longest|ifd|diverse|similar|judge"
KeyEnv = Annotated[str, typer.Option(metavar="NAME", help=t("help.key-env"))]
AtOnce = Annotated[int, typer.Option(min=1, max=256, help=t("help.at-once"))]
PerMinute = Annotated[float | None, typer.Option(min=0.1, help=t("help.per-minute"))]
Timeout = Annotated[float, typer.Option(min=1.0, help=t("help.timeout"))]
Judge = Annotated[str | None, typer.Option(metavar="WRITER", help=t("help.select-judge"))]


@data_app.command("select", help=t("help.data-select"))
def data_select(
    sources: Annotated[list[Path] | None, typer.Argument(metavar="IN", help=t("help.data-sources"))] = None,
    *,
    out: Out,
    by: Annotated[list[str], typer.Option(metavar=f"{_WAYS}, +", help=t("help.select-by"))],
    rows: Annotated[int | None, typer.Option(min=1, help=t("help.select-rows"))] = None,
    share: Annotated[float | None, typer.Option(min=1e-9, max=1.0, help=t("help.select-share"))] = None,
    tokens: Annotated[int | None, typer.Option(min=1, help=t("help.select-tokens"))] = None,
    model: Annotated[str, typer.Option(help=t("help.select-model"))] = "smollm2-135m-instruct",
    target: Annotated[list[Path] | None, typer.Option(help=t("help.select-target"))] = None,
    judge: Judge = None,
    sample: Annotated[int | None, typer.Option(min=1, help=t("help.select-sample"))] = None,
    compare: Annotated[Path | None, typer.Option(metavar="RECIPE", help=t("help.select-compare"))] = None,
    seed: Annotated[int, typer.Option(min=0, help=t("help.seed"))] = 0,
    key_env: KeyEnv = "OPENAI_API_KEY",
    at_once: AtOnce = 4,
    per_minute: PerMinute = None,
    timeout: Timeout = 120.0,
    form: Form = "auto",
    limit: Limit = None,
) -> Result:
    from kitae.ask import ClientSpec
    from kitae.core.errors import EXIT_FAILED, InputError
    from kitae.curate import Amount, Choice, select_data, ways_of
    from kitae.workflows import compare_selections

    judging = ClientSpec(judge, key_env, at_once, per_minute, timeout) if judge is not None else None
    amount = Amount(rows, share, tokens)
    if compare is not None:
        if sources or form != "auto" or limit is not None:
            raise InputError("compare-sources", where=str(compare))
        compared = compare_selections(compare, out, by, amount, model, tuple(target or []), judging, sample, seed)
        failed = any(found.get("failure") for found in compared["selections"])
        return Result(compared, "\n\n".join([_compared(compared), str(out)]), EXIT_FAILED if failed else 0)
    if not sources or len(by) != 1:
        raise InputError("select-one", where=" ".join(by))
    choice = Choice(ways_of(by[0]), amount, model, tuple(target or []), judging, sample, seed)
    value = select_data(sources, out, choice, form, limit)
    return Result(value, "\n\n".join([_selected(value), str(out)]))


@data_app.command("synth", help=t("help.data-synth"))
def data_synth(
    seeds: Sources,
    out: Annotated[Path, typer.Option("--out", help=t("help.synth-out"))],
    writer: Annotated[str, typer.Option(metavar="WRITER", help=t("help.synth-writer"))],
    rows: Annotated[int, typer.Option(min=1, help=t("help.synth-rows"))],
    method: Annotated[
        Literal["self-instruct", "evol-instruct", "craft", "cot-self-instruct"], typer.Option(help=t("help.synth-method"))
    ] = "self-instruct",
    corpus: Annotated[list[Path] | None, typer.Option(help=t("help.synth-corpus"))] = None,
    evaluation: Evaluation = None,
    answers: Annotated[int, typer.Option(min=1, max=64, help=t("help.synth-answers"))] = 1,
    keep: Annotated[Literal["all", "consistent", "judged"], typer.Option(help=t("help.synth-keep"))] = "all",
    judge: Judge = None,
    language: Annotated[str | None, typer.Option(help=t("help.synth-language"))] = None,
    budget_tokens: Annotated[int | None, typer.Option(min=1, help=t("help.synth-budget-tokens"))] = None,
    budget: Annotated[float | None, typer.Option(min=0.0, help=t("help.synth-budget"))] = None,
    price: Annotated[str, typer.Option(metavar="IN,OUT", help=t("help.synth-price"))] = "0,0",
    temperature: Annotated[float, typer.Option(min=0.0, max=2.0, help=t("help.synth-temperature"))] = 0.8,
    max_tokens: Annotated[int, typer.Option(min=16, help=t("help.synth-max-tokens"))] = 1024,
    licence: Annotated[str, typer.Option(help=t("help.synth-licence"))] = "",
    seed: Annotated[int, typer.Option(min=0, help=t("help.seed"))] = 0,
    key_env: KeyEnv = "OPENAI_API_KEY",
    judge_key_env: Annotated[str | None, typer.Option(metavar="NAME", help=t("help.judge-key-env"))] = None,
    at_once: AtOnce = 4,
    per_minute: PerMinute = None,
    timeout: Timeout = 120.0,
    limit: Limit = None,
) -> Result:
    from kitae.ask import Budget, ClientSpec
    from kitae.core.errors import InputError
    from kitae.curate import Growth, Synthesis, synthesise

    if language is not None and language not in LANGUAGES_KNOWN:
        raise InputError("language-unknown", where=language, why=", ".join(LANGUAGES_KNOWN))
    licences = tuple(part.strip() for part in licence.split(",") if part.strip())
    growth = Growth(
        method,
        rows,
        "",
        answers,
        keep,
        temperature,
        max_tokens,
        languages=(language,) if language else (),
        licences=licences,
        seed=seed,
    )
    written = ClientSpec(writer, key_env, at_once, per_minute, timeout)
    judged = None
    if judge:  # a key is for whom it was given
        same = urlsplit(judge).netloc == urlsplit(writer).netloc
        judged = ClientSpec(judge, judge_key_env or (key_env if same else ""), at_once, per_minute, timeout)
    cap = Budget(budget_tokens, budget, _price(price))
    value = synthesise(seeds, out, Synthesis(growth, written, judged, tuple(corpus or []), tuple(evaluation or []), cap), limit)
    return Result(value, "\n\n".join([_written(value), str(out)]))


@data_app.command("pull", help=t("help.data-pull"))
def data_pull(
    name: Annotated[str | None, typer.Argument(help=t("help.pull-name"))] = None,
    out: Annotated[Path | None, typer.Option("--out", help=t("help.pull-out"))] = None,
    limit: Annotated[int | None, typer.Option(min=1, help=t("help.pull-limit"))] = None,
) -> Result:
    if name is None:
        return _known()
    from kitae.workflows import ROWS, pull

    value = pull(name, out, limit)
    said = [t("pull.done", rows=value["rows"], rejected=value["rejected"], folder=value["folder"])]
    said += [f"· {claim['licence']} ({claim['source']})" for claim in value["claims"]] or [t("pull.unknown")]
    path = Path(value["folder"]) / ROWS
    snippet = f'data:\n  train: [{{path: {path}, format: {value["format"]}, licence: "{value["licence"]}"}}]'
    return Result(value, "\n".join([*said, "", snippet]))


def _known() -> Result:
    from kitae.data import catalogue

    head = [t("pull.name"), t("pull.what"), t("pull.rows"), "MB", t("licence.claim"), "hub"]
    rows = [[e.name, t(f"catalogue.{e.name}"), e.rows, e.megabytes, e.licence, e.hub] for e in catalogue().values()]
    value = [
        {
            "name": e.name,
            "hub": e.hub,
            "files": e.files,
            "format": e.format,
            "rows": e.rows,
            "megabytes": e.megabytes,
            "claims": [{"licence": licence, "source": said} for licence, said in e.licences],
        }
        for e in catalogue().values()
    ]
    return Result({"data_sets": value}, grid([head, *rows]))


def _price(text: str) -> tuple[float, float]:
    from kitae.core.errors import InputError

    try:
        asked, said = map(float, text.split(","))
    except ValueError as error:
        raise InputError("price", where=text) from error
    if not (0 <= asked < 1e9 and 0 <= said < 1e9):
        raise InputError("price", where=text)
    return asked, said


def _selected(value: SelectReport) -> str:
    lines = [t("select.chosen", chosen=value["chosen"], rows=value["rows"], tokens=value["tokens"])]
    lines += [f"· {t(f'select.left-out.{reason}')}: {count}" for reason, count in value["left_out"].items()]
    lines += [f"· {t('select.unreadable')}: {value['unreadable']}"] if value["unreadable"] else []
    return "\n".join(lines)


def _compared(value: JsonDict) -> str:
    head = [t("select.way"), t("select.rows"), t("select.tokens-of"), t("compare.bits_per_byte"), t("select.from-random")]
    rows = []
    for found in value["selections"]:
        score = found.get("bits_per_byte")
        apart = found.get("difference")
        told = "" if apart is None else f"{apart['mean']:+.4f} ± {_number(apart['plus_minus'])}"
        rows.append([found["by"], found["chosen"], found["tokens"], _number(score), told])
    failed = [f"{found['by']}: {found['failure']}" for found in value["selections"] if found.get("failure")]
    return "\n".join([grid([head, *rows]), *failed])


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _written(value: SynthReport) -> str:
    spent = value["spent"]
    lines = [t("synth.done", kept=value["kept"], wanted=value["wanted"], rejected=value["rejected"])]
    lines.append(t(f"synth.ended.{value['ended']}"))
    lines.append(t("synth.spent", calls=spent["calls"], tokens=spent["tokens_asked"] + spent["tokens_said"]))
    lines += [
        f"· {t(f'synth.because.{gate}') if gate.startswith('synth.') else gate}: {n}" for gate, n in value["reasons"].items()
    ]
    return "\n".join(lines)
