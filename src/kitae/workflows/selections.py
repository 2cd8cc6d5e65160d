"""`kitae data select --compare`: one small recipe, trained on the rows that each way chooses, at the same number of tokens.

Rows are held back before anything is chosen, so no way has seen what judges it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from kitae.ask import ClientSpec
from kitae.core import interruption
from kitae.core.console import console
from kitae.core.errors import InputError
from kitae.core.files import JsonDict, hash_text, read_json, staged_folder, write_json, write_jsonl
from kitae.core.i18n import t
from kitae.core.row_options import RowGate
from kitae.curate import READ_BY_MODEL, Amount, Choice, choose, feature_model, ways_of
from kitae.data import check_out, content, contents, without_duplicates
from kitae.recipe import Recipe, load_recipe, recipe_yaml
from kitae.workflows.comparison import compare
from kitae.workflows.rows import gather_rows
from kitae.workflows.sweeps import sweep

_ALWAYS = ("random", "longest")  # a way that does not beat these is not worth its price
_REPORT = "report.json"


def compare_selections(
    recipe: Path,
    out: Path,
    ways: Sequence[str],
    amount: Amount,
    model: str,
    targets: tuple[Path, ...],
    judge: ClientSpec | None,
    sample: int | None,
    seed: int,
) -> JsonDict:
    if amount.tokens is None:
        raise InputError("compare-tokens", where="--rows, --share")
    names = list(dict.fromkeys((*_ALWAYS, *ways)))
    choices = {}
    for name in names:
        found = ways_of(name)
        needed = (targets if "similar" in found else (), judge if "judge" in found else None)
        choices[name] = Choice(found, amount, model, *needed, sample, seed)
    for option, given, way in (("--target", targets, "similar"), ("--judge", judge, "judge")):
        if given and not any(way in choice.ways for choice in choices.values()):
            raise InputError("way-unread", where=option, why=", ".join(names), way=way)
    wanted = load_recipe(recipe, ["data.select=null"])
    files = contents([*(Path(source.path) for source in wanted.data.train), *targets])
    read = any(READ_BY_MODEL.intersection(choice.ways) for choice in choices.values())
    fingerprint = feature_model(model).target.fingerprint() if read else []
    made = {
        "recipe": hash_text(recipe_yaml(wanted), files, *fingerprint),
        "choices": [json.loads(json.dumps(asdict(choice), default=str)) for choice in choices.values()],
    }
    if not (out / _REPORT).is_file() or read_json(out / _REPORT).get("made") != made:
        check_out(out, [])
        with interruption.heard():
            _choose(wanted, out, choices, made)
    report = read_json(out / _REPORT)
    trained = sweep(recipe, [_grid(out, report)], _otherwise(wanted, out, report))["trials"]
    for selection, trial in zip(report["selections"], trained, strict=True):
        for key in ("run", "failure", "bits_per_byte", "exact_match"):  # also where an earlier try left another
            selection[key] = trial.get(key)
    runs = [selection["run"] for selection in report["selections"] if selection["bits_per_byte"] is not None]
    if len(set(runs)) > 1 and report["selections"][0]["bits_per_byte"] is not None:
        compared = {run["run"]: run for run in compare(runs, out / "comparison.html")["runs"]}
        for selection in report["selections"][1:]:
            run = compared.get(selection.get("run"))
            if run is not None and run["difference"].get("language"):
                selection["difference"] = run["difference"]["language"]
    write_json(out / _REPORT, report)
    return {**report, "folder": str(out)}


def _choose(wanted: Recipe, out: Path, choices: dict[str, Choice], made: JsonDict) -> None:
    """The rows of each way, and those that are held back from all."""
    rows = gather_rows(wanted)
    pool = without_duplicates(rows.train)
    selections = []
    with staged_folder(out) as stage:
        for name, choice in choices.items():
            console.say(t("select.choosing", by=name))
            chosen = choose(pool, choice)
            selections.append({"by": name, **chosen.report})
            (stage / name).mkdir()
            write_jsonl(stage / name / "kept.jsonl", (content(pool[i]) for i in chosen.rows))
        write_jsonl(stage / "validation.jsonl", map(content, rows.validation))
        licence = ", ".join(dict.fromkeys(source.licence for source in wanted.data.train))
        write_json(stage / _REPORT, {"made": made, "licence": licence, "pool": len(pool), "selections": selections})


def _grid(out: Path, report: JsonDict) -> str:
    """Each selection as all the training data of one trial."""
    paths = [str((out / selection["by"] / "kept.jsonl").absolute()) for selection in report["selections"]]
    return "data.train=" + ",".join(json.dumps([_source(path, report)]) for path in paths)


def _otherwise(wanted: Recipe, out: Path, report: JsonDict) -> list[str]:
    """What each trial has otherwise than the recipe: its rows are chosen, split, and cleaned if they were to be. Nothing is
    held against those again: beside fewer rows they may look worse."""
    validation = json.dumps([_source(str((out / "validation.jsonl").absolute()), report)])
    settings = [f"data.validation={validation}", "data.select=null"]
    if wanted.data.clean is not None:
        settings.append("data.clean=" + json.dumps({"rules": dict.fromkeys(get_args(RowGate), "keep")}))
    return settings


def _source(path: str, report: JsonDict) -> dict[str, Any]:
    return {"path": path, "licence": report["licence"]}
