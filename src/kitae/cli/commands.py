"""Every command: its arguments, one call, its result."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from kitae.cli.choosing import KeyEnv, Timeout  # its commands are of `data`
from kitae.cli.data import data_app
from kitae.cli.help import Group
from kitae.cli.result import Result, form_table, gate_lines, grid, verdict_line
from kitae.cli.runs import RunId, runs_app
from kitae.cli.talk import talk_app
from kitae.cli.tokenizer import tokenizer_app
from kitae.core.i18n import t

app = typer.Typer(
    cls=Group,
    help=t("help.kitae"),
    epilog=t("help.flags"),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
recipe_app = typer.Typer(help=t("help.recipe"), no_args_is_help=True, rich_markup_mode=None, cls=Group)
app.add_typer(recipe_app, name="recipe")
app.add_typer(data_app, name="data")
app.add_typer(tokenizer_app, name="tokenizer")
app.add_typer(runs_app, name="runs")

Target = Annotated[str, typer.Argument(help=t("help.target"))]
RecipePath = Annotated[Path, typer.Argument(help=t("help.recipe-path"))]
Overrides = Annotated[list[str] | None, typer.Option("--set", help=t("help.set"))]
Out = Annotated[Path | None, typer.Option("--out", help=t("help.out"))]
Template = Annotated[str | None, typer.Option("--chat-template", metavar="FILE|NAME", help=t("help.chat-template"))]
Raw = Annotated[bool, typer.Option("--raw", help=t("help.raw"))]


@app.command(help=t("help.quickstart"))
def quickstart(
    out: Out = None,
    seed: Annotated[int, typer.Option(min=0, help=t("help.seed"))] = 0,
    prompts: Annotated[int, typer.Option(min=8, max=200, help=t("help.prompts"))] = 48,
    full: Annotated[bool, typer.Option("--full", help=t("help.full"))] = False,
) -> Result:
    from kitae.workflows import quickstart

    value = quickstart(out, seed, prompts, full)
    text = "\n\n".join(
        [
            gate_lines(value["gates"]),
            form_table(value["table"]),
            t(
                "say.quickstart-done",
                run=value["run"],
                package=value["package"],
                seconds=value["seconds"],
                prompts=prompts,
            ),
        ]
    )
    return Result({key: value[key] for key in ("verdict", "run", "package", "rows", "table", "seconds")}, text)


@app.command(help=t("help.doctor"))
def doctor(measure: Annotated[bool, typer.Option("--measure", help=t("help.measure"))] = False) -> Result:
    from kitae.cli.doctor import examine

    value = examine(measure)
    rows = [[t("doctor.what"), t("doctor.found")], *([key, found] for key, found in value["found"].items())]
    return Result(value, "\n\n".join([grid(rows), "\n".join(value["notes"])]))


@recipe_app.command("new", help=t("help.recipe-new"))
def recipe_new(
    path: RecipePath,
    train: Annotated[str, typer.Option(help=t("help.train-file"))] = "train.jsonl",
    source: Annotated[str, typer.Option(help=t("help.target"))] = "smollm2-135m-instruct",
) -> Result:
    from kitae.core.errors import InputError
    from kitae.core.files import write_text
    from kitae.models import light_codec
    from kitae.recipe import commented_recipe

    if path.exists():
        raise InputError("exists", where=str(path))
    rows = Path(train)
    if not rows.is_absolute() and rows.exists():  # a recipe names files from where it is
        train = os.path.relpath(rows, path.absolute().parent)
    write_text(path, commented_recipe(path.stem, train, source))
    try:
        codec = light_codec(source)
    except InputError:  # recipe check will say what is wrong with it
        codec = None
    system = codec.default_system() if codec is not None else ""
    told = f"\n\n{t('say.default-system', text=system)}" if system else ""
    return Result({"recipe": str(path), "system": system}, f"{path}{told}")


@recipe_app.command("check", help=t("help.recipe-check"))
def recipe_check(path: RecipePath, set_: Overrides = None) -> Result:
    from kitae.core.errors import EXIT_REFUSED
    from kitae.data import spelled_warning
    from kitae.recipe import load_recipe
    from kitae.workflows import check_recipe

    value = check_recipe(load_recipe(path, set_ or []))
    system = f"\n\n{t('say.default-system', text=value['system'])}" if value["system"] else ""
    spelled = f"\n\n{spelled_warning(value['spelled'])}" if value["spelled"] else ""
    licence = value["licence"]
    said = "" if licence["verdict"] == "pass" else f"\n\n! {licence['id']}: {licence['why']} {licence['fix']}"
    refused = licence["verdict"] == "refuse"
    return Result(value, t("say.recipe-ok", **value) + system + spelled + said, EXIT_REFUSED if refused else 0)


@recipe_app.command("show", help=t("help.recipe-show"))
def recipe_show(path: RecipePath, set_: Overrides = None) -> Result:
    from kitae.recipe import load_recipe, recipe_yaml

    recipe = load_recipe(path, set_ or [])
    return Result(recipe.model_dump(mode="json"), recipe_yaml(recipe))


@recipe_app.command("schema", help=t("help.recipe-schema"))
def recipe_schema() -> Result:
    import json

    from kitae.recipe import Recipe

    schema = Recipe.model_json_schema()
    return Result(schema, json.dumps(schema, indent=2))


@app.command(help=t("help.train"))
def train(
    recipe: Annotated[Path | None, typer.Argument(help=t("help.recipe-path"))] = None,
    set_: Overrides = None,
    resume: Annotated[str | None, typer.Option(help=t("help.resume"))] = None,
) -> Result:
    from kitae.workflows import train

    value = train(recipe, set_ or [], resume)
    return Result(value, str(value["run"]))


@app.command(help=t("help.verify"))
def verify(
    target: Annotated[str | None, typer.Argument(help=t("help.target"))] = None,
    against: Annotated[str | None, typer.Option(help=t("help.against"))] = None,
    endpoint: Annotated[str | None, typer.Option(metavar="URL", help=t("help.endpoint"))] = None,
    only: Annotated[list[str] | None, typer.Option(help=t("help.only"))] = None,
    chat_template: Template = None,
    raw: Raw = False,
    key_env: KeyEnv = "OPENAI_API_KEY",
    timeout: Timeout = 120.0,
) -> Result:
    from kitae.chat import RAW
    from kitae.core.errors import EXIT_REFUSED, InputError
    from kitae.workflows import verify, verify_endpoint

    template = RAW if raw else chat_template
    if endpoint is not None and target is None and against is not None:
        value = verify_endpoint(endpoint, against, only or [], template, key_env, timeout)
    elif endpoint is None and target is not None:
        value = verify(target, against, only or [], template)
    else:
        raise InputError("verify-what", where=target or endpoint or "")
    code = EXIT_REFUSED if value["verdict"] == "refuse" else 0
    return Result(value, f"{gate_lines(value['gates'])}\n\n{verdict_line(value, only=bool(only))}", code)


@app.command("eval", help=t("help.eval"))
def evaluate(
    target: Target,
    suite: Annotated[list[str] | None, typer.Option(help=t("help.suite"))] = None,
    against: Annotated[str | None, typer.Option(help=t("help.eval-against"))] = None,
    data: Annotated[Path | None, typer.Option(help=t("help.eval-data"))] = None,
    rows: Annotated[int | None, typer.Option(min=1, help=t("help.eval-rows"))] = None,
) -> Result:
    from kitae.cli.scores import score_table
    from kitae.workflows import evaluate

    value = evaluate(target, suite or [], against, data, rows)
    return Result(value, score_table(value))


@app.command(help=t("help.sweep"))
def sweep(
    recipe: RecipePath,
    grid: Annotated[list[str], typer.Option(help=t("help.grid"))],
    set_: Overrides = None,
) -> Result:
    from kitae.cli.scores import sweep_table
    from kitae.core.errors import EXIT_FAILED
    from kitae.workflows import sweep

    value = sweep(recipe, grid, set_ or [])
    failed = any("failure" in trial for trial in value["trials"])
    return Result(value, sweep_table(value), EXIT_FAILED if failed else 0)


@app.command(help=t("help.compare"))
def compare(runs: Annotated[list[str], typer.Argument(help=t("help.compare-runs"))], out: Out = None) -> Result:
    from kitae.workflows import compare, comparison_rows

    value = compare(runs, out)
    return Result(value, "\n\n".join([grid(comparison_rows(value)), value["page"]]))


@app.command(help=t("help.blend"))
def blend(
    models: Annotated[list[str], typer.Argument(help=t("help.blend-models"))],
    how: Annotated[str, typer.Option(help=t("help.blend-how"))] = "linear",
    weight: Annotated[list[float] | None, typer.Option(help=t("help.blend-weight"))] = None,
    density: Annotated[float | None, typer.Option(help=t("help.blend-density"))] = None,
    scale: Annotated[float | None, typer.Option(help=t("help.blend-scale"))] = None,
    recipe: Annotated[Path | None, typer.Option(help=t("help.blend-recipe"))] = None,
) -> Result:
    from kitae.workflows import blend

    value = blend(models, how, weight or [], density, scale, recipe)
    return Result(value, str(value["run"]))


@app.command(help=t("help.merge"))
def merge(run: RunId) -> Result:
    from kitae.workflows import merge

    value = merge(run)
    return Result(value, str(value["folder"]))


@app.command(help=t("help.export"))
def export(
    target: Target,
    gguf: Annotated[str, typer.Option(help=t("help.gguf"))] = "F16",
    out: Out = None,
) -> Result:
    from kitae.core.errors import InputError
    from kitae.core.quants import QUANTS
    from kitae.workflows import export

    if gguf not in QUANTS:
        raise InputError("quant-unknown", where=gguf, why=", ".join(QUANTS))
    value = export(target, gguf, out)
    return Result(value, str(value["file"]))


@app.command(help=t("help.ship"))
def ship(
    run: RunId,
    quant: Annotated[list[str] | None, typer.Option(help=t("help.gguf"))] = None,
    out: Out = None,
) -> Result:
    from kitae.core.errors import InputError
    from kitae.core.quants import QUANTS
    from kitae.workflows import ship

    for name in quant or []:
        if name not in QUANTS:
            raise InputError("quant-unknown", where=name, why=", ".join(QUANTS))
    value = ship(run, quant or [], out)
    return Result(value, "\n\n".join([gate_lines(value["gates"]), form_table(value["table"]), str(value["package"])]))


app.add_typer(talk_app)

for group in (app, talk_app, recipe_app, data_app, tokenizer_app, runs_app):
    for command in group.registered_commands:
        command.epilog = t("help.flags")
