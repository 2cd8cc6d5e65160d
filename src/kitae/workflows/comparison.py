"""`kitae compare`: what differs between runs, in their recipes and on the same held-out rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kitae.core import paths
from kitae.core.console import console
from kitae.core.errors import InputError
from kitae.core.files import hash_text, read_text, write_text
from kitae.core.html import Line, curves, escape, page
from kitae.core.i18n import t
from kitae.core.libraries import quiet_libraries
from kitae.data import Rows, overlap
from kitae.recipe import Recipe, load_recipe
from kitae.runs import Run, find_run
from kitae.workflows.evaluation import held_out, scored
from kitae.workflows.results import Comparison
from kitae.workflows.sweeps import training_numbers

_NUMBERS = {  # of training, and how each is written
    "validation_loss": ".4f",
    "parameters": ",",
    "learned": ",",
    "tokens_per_second": ",.0f",
    "seconds": ",.0f",
    "memory_mb": ",",
}
_SCORES = {"language": ("bits_per_byte", ".4f"), "exact_match": ("share", ".1%")}
_COLOURS = 8  # that the page knows


def compare(runs: Sequence[str], out: Path | None = None) -> Comparison:
    """On the rows that the first run held out, unless another was trained on them."""
    found = [find_run(run) for run in runs]
    if len({run.id for run in found}) < 2:
        raise InputError("compare-two", where=" ".join(runs))
    for run in found:
        if not run.output.exists():
            raise InputError("run-untrained", where=run.id, why=run.state)
    recipes = [load_recipe(run.recipe_path) for run in found]
    rows = [row for row in held_out(found[0]) if row.teaches]
    for run in found:
        known = overlap(rows, Rows.load(run.data).train).exact
        if known:
            raise InputError("compare-trained", where=run.id, why=" = ".join(known[0]), count=len(known))
    quiet_libraries()
    from kitae.evaluate import difference

    suites = ["language", *recipes[0].evaluate.suites]
    longest = min(recipe.model.max_length for recipe in recipes)
    found_scores = []
    for run, recipe in zip(found, recipes, strict=True):
        console.say(t("say.compare", run=run.id, count=len(rows)))
        found_scores.append(scored(run.id, rows, suites, longest, recipe, trained=True))
    value: Comparison = {
        "rows": len(rows),
        "settings": _differing([_settings(recipe) for recipe in recipes]),
        "runs": [
            {
                "run": run.id,
                **training_numbers(run),
                "validation_loss": next((event["best_validation_loss"] for event in run.events("fitted")), None),
                "suites": summaries,
                "difference": difference(each, found_scores[0][0]) if run is not found[0] else {},
            }
            for run, (each, summaries) in zip(found, found_scores, strict=True)
        ],
    }
    name = hash_text(*(run.id for run in found))[:8]
    target = out if out is not None else paths.home() / "comparisons" / f"{name}.html"
    target.parent.mkdir(parents=True, exist_ok=True)
    write_text(target, _page(found, value))
    return {**value, "page": str(target)}


def comparison_rows(value: Comparison, lang: str | None = None) -> list[list[str]]:
    """A table: one column a run."""
    runs = value["runs"]
    rows = [["", *(run["run"] for run in runs)]]
    for key, values in value["settings"].items():
        rows.append([key, *("–" if each is None else str(each) for each in values)])
    for name, form in _NUMBERS.items():
        if any(run.get(name) is not None for run in runs):
            rows.append([t(f"compare.{name}", lang), *(_written(run.get(name), form) for run in runs)])
    for suite, (number, form) in _SCORES.items():
        if suite in runs[0]["suites"]:
            scores = [f"{run['suites'][suite][number]:{form}}" for run in runs]
            rows.append([t(f"compare.{number}", lang), *scores])
            apart = [run["difference"].get(suite) for run in runs]
            if any(apart):
                rows.append([t("compare.apart", lang), *(_apart(each, form) for each in apart)])
    return rows


def _written(value: object, form: str) -> str:
    return "–" if value is None else f"{value:{form}}"


def _apart(found: dict[str, Any] | None, form: str) -> str:
    if found is None:
        return ""
    error = "–" if found["plus_minus"] is None else f"{found['plus_minus']:{form}}"
    return f"{found['mean']:+{form}} ± {error}"


def _settings(recipe: Recipe) -> dict[str, Any]:
    found = _flat(recipe.model_dump(mode="json"))
    template = recipe.model.chat_template  # each run has a copy of its own
    return {**found, "model.chat_template": template and hash_text(read_text(Path(template)))[:12]}


def _flat(value: object, path: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping) and value:
        inner = [_flat(part, f"{path}.{key}" if path else str(key)) for key, part in value.items()]
        return {key: each for part in inner for key, each in part.items()}
    return {path: value}


def _differing(recipes: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Only what isn't the same in all of them."""
    keys = dict.fromkeys(key for recipe in recipes for key in recipe if key != "name")
    values = {key: [recipe.get(key) for recipe in recipes] for key in keys}
    return {key: each for key, each in values.items() if any(value != each[0] for value in each)}


def _page(runs: Sequence[Run], value: Comparison) -> str:
    return page("compare", lambda lang: _body(runs, value, comparison_rows(value, lang), lang))


def _body(runs: Sequence[Run], value: Comparison, table: Sequence[Sequence[object]], lang: str) -> str:
    lines = []
    for number, run in enumerate(runs):
        css = f"line{number % _COLOURS}"
        training = [(int(e["step"]), float(e["loss"])) for e in run.events("step") if isinstance(e["loss"], (int, float))]
        validation = [(int(e["step"]), float(e["loss"])) for e in run.events("validation")]
        lines += [Line(training, f"faint {css}", label=run.id), Line(validation, css, dots=True, label=run.id)]
    head = "".join(f'<td class="line{i % _COLOURS}">{escape(run.id)}</td>' for i, run in enumerate(runs))
    cells = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table[1:])
    return (
        f"<header><h1>{escape(t('compare.title', lang, count=value['rows']))}</h1></header>"
        f"<table><tr><td></td>{head}</tr>{cells}</table>"
        f"<h2>{escape(t('report.loss', lang))}</h2>{curves(lines)}"
    )
