"""`kitae sweep`: one recipe with other settings, run after run, and the scores side by side.

Every run is a process of its own, so one that fails takes nothing with it. Nothing is kept but the runs: their names say
which recipe, settings and files they belong to, so the same command goes on where it was stopped, and shows the table when
all is done.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import yaml

from kitae.core import interruption
from kitae.core.console import console
from kitae.core.errors import EXIT_INTERRUPTED, InputError, KitaeError, RunBusy, first_line
from kitae.core.files import JsonDict, hash_text, read_json, sha256
from kitae.core.i18n import t
from kitae.core.workers import finish
from kitae.recipe import Recipe, load_recipe, recipe_yaml
from kitae.runs import Run, all_runs
from kitae.workflows.results import SweepReport, TrainingNumbers

_SEED = "train.seed"
_LONGEST_NAME = 48


@dataclass(frozen=True)
class Trial:
    recipe: Recipe
    path: Path
    settings: tuple[str, ...]  # key=value, as --set takes them

    @cached_property
    def name(self) -> str:
        files = [_hash(path) for path in _files(self.recipe) if path.is_file()]
        return f"{self.recipe.name[:_LONGEST_NAME]}-{hash_text(recipe_yaml(self.recipe), *files)[:8]}"

    @property
    def run(self) -> Run | None:
        """The newest run of this very recipe."""
        return next((run for run in all_runs() if run.id[:-23] == self.name), None)


def _files(recipe: Recipe) -> list[Path]:
    """What a run depends on beside its recipe, as far as it lies on this machine."""
    validation = recipe.data.validation if isinstance(recipe.data.validation, list) else []
    paths = [Path(source.path) for source in (*recipe.data.train, *validation, *recipe.data.test)]
    paths += [Path(target) for target in recipe.data.select.targets] if recipe.data.select else []
    return [*paths, Path(recipe.model.new.tokenizer) / "tokenizer.json"] if recipe.model.new else paths


@cache
def _hash(path: Path) -> str:
    return sha256(path)


def sweep(recipe: Path, grid: Sequence[str], overrides: Sequence[str] = ()) -> SweepReport:
    """`grid`: key=value,value … for each setting that is to be varied."""
    axes = [_axis(axis) for axis in grid]
    keys = [axis[0].partition("=")[0] for axis in axes]
    for key, axis in zip(keys, axes, strict=True):
        if keys.count(key) > 1 or len(set(axis)) < len(axis):
            raise InputError("grid-twice", where=key)
    trials = [_trial(recipe, [*overrides, *settings]) for settings in itertools.product(*axes)]
    rows, busy = [], None
    try:
        with interruption.heard():
            for number, trial in enumerate(trials, 1):
                settings = trial.settings[len(overrides) :]
                console.say(t("say.trial", number=number, count=len(trials), settings=", ".join(settings)))
                try:
                    rows.append({**_values(settings), **_outcome(trial)})
                except RunBusy as error:
                    busy = error  # the others need not wait for it
    except KeyboardInterrupt:
        console.say(t("say.sweep-goes-on"))
        raise
    if busy is not None:
        raise busy
    return {"recipe": str(recipe), "trials": rows, "means": list(_means(rows))}


def _axis(text: str) -> list[str]:
    key, equals, values = text.partition("=")
    try:
        found = yaml.safe_load(f"[{values}]")
    except yaml.YAMLError as error:
        raise InputError("grid", where=text, why=first_line(error)) from error
    if not key or not equals or not found:
        raise InputError("grid", where=text)
    return [f"{key}={json.dumps(value)}" for value in found]


def _trial(path: Path, settings: Sequence[str]) -> Trial:
    return Trial(load_recipe(path, settings), path, tuple(settings))


def _values(settings: Sequence[str]) -> JsonDict:
    return {key: json.loads(value) for key, _, value in (setting.partition("=") for setting in settings)}


def _outcome(trial: Trial) -> JsonDict:
    """Trains and scores what is not yet there; a failure is told in the table."""
    run, settings = trial.run, [part for setting in trial.settings for part in ("--set", setting)]
    if run is not None and not (run.reports / "eval.json").exists():
        run.check_free()  # a killed sweep may have left its trial at work
    if run is None or run.state in ("failed", "refused"):
        failure = _kitae("train", trial.path, *settings, "--set", f"name={trial.name}")
    else:
        failure = _kitae("train", "--resume", run.id) if run.state in ("interrupted", "running") else None
    run = trial.run
    if run is not None and failure is None and not (run.reports / "eval.json").exists():
        failure = _kitae("eval", run.id)
    if failure is not None or run is None:
        return {"run": run.id if run else None, "failure": failure}
    return {"run": run.id, **_scores(run)}


def _kitae(*arguments: object) -> str | None:
    """None, or what went wrong."""
    command = [sys.executable, "-m", "kitae.cli.main", *map(str, arguments), "--json"]
    process = None
    try:
        with interruption.held():
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        out, _ = finish(process, t("say.trial-runs"))
    except KeyboardInterrupt:
        if process is not None:
            process.terminate()  # it saves what it has, and says so
            process.communicate()
        raise
    if process.returncode == EXIT_INTERRUPTED:
        raise KeyboardInterrupt
    if process.returncode == 0:
        return None
    try:
        error = json.loads(out)["error"]
        return f"{error['message']} {error['why']}".strip()[:300]
    except (ValueError, KeyError):
        return KitaeError("trial", why=str(process.returncode)).message


def _scores(run: Run) -> JsonDict:
    report = read_json(run.reports / "eval.json")["suites"]
    language, exact = report.get("language", {}), report.get("exact_match")
    scores: JsonDict = {key: language[key] for key in ("bits_per_byte", "perplexity", "accuracy", "unknown") if key in language}
    scores |= {key: language["contexts"][key] for key in ("passes", "gap") if "contexts" in language}
    if exact:
        scores["exact_match"] = exact["share"]
    return scores | training_numbers(run)


def training_numbers(run: Run) -> TrainingNumbers:
    steps = list(run.events("step"))
    if not steps:
        return {}
    return {
        "parameters": run.manifest["model"]["parameters"],
        "learned": max((event["numbers"] for event in run.events("learned")), default=None),
        "tokens_per_second": steps[-1]["tokens_per_second"],
        "seconds": steps[-1]["seconds"],
        "memory_mb": max(step["memory_mb"] for step in steps),
    }


def _means(rows: Sequence[JsonDict]) -> Iterator[JsonDict]:
    """Where seeds were varied: the mean over them, and how far they lie apart."""
    if not any(_SEED in row for row in rows):
        return
    scored = [row for row in rows if "bits_per_byte" in row]
    settings = [key for key in rows[0] if "." in key and key != _SEED]
    groups: dict[str, list[JsonDict]] = {}
    for row in scored:
        groups.setdefault(json.dumps([row[key] for key in settings]), []).append(row)
    for group in groups.values():
        bits = [float(row["bits_per_byte"]) for row in group]
        spread = max(bits) - min(bits)
        yield {**{key: group[0][key] for key in settings}, "seeds": len(bits), "mean": sum(bits) / len(bits), "spread": spread}
