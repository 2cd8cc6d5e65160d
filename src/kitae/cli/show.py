"""A run in a few lines, and all runs in a line each."""

from __future__ import annotations

from collections import Counter

import yaml

from kitae.core.files import JsonDict, read_json
from kitae.runs import Run

# What a person does next with a run in this state.
NEXT = {
    "interrupted": "kitae train --resume {run}",
    "failed": "kitae train --resume {run}",
    "trained": "kitae ship {run}",
    "refused": "kitae verify {run}",
    "shipped": "kitae chat {run}",
}


def in_a_line(run: Run, state: str) -> JsonDict:
    """When it began, how it was trained, and what came of it."""
    value: JsonDict = {"run": run.id, "state": state, "path": str(run.path), "began": None, "method": _method(run)}
    first = next(run.events("state"), None)
    value["began"] = str(first["at"])[:16].replace("T", " ") if first else None
    report = run.reports / "report.json"
    content = read_json(report) if report.exists() else {"table": [], "verdict": None}
    scores = [row["exact_match"] for row in content["table"] if row["form"] != "base" and row["exact_match"] is not None]
    return value | {"exact_match": scores[-1] if scores else None, "verdict": content["verdict"]}


def _method(run: Run) -> str | None:
    try:
        said = yaml.safe_load(run.recipe_path.read_text(encoding="utf-8"))
        return str(said["train"]["method"])
    except (OSError, yaml.YAMLError, KeyError, TypeError):  # a run that never got that far
        return None


def describe(run: Run) -> JsonDict:
    state = run.state
    value: JsonDict = {"run": run.id, "state": state, "path": str(run.path), "recipe": str(run.recipe_path)}
    value["method"] = _method(run)
    steps = list(run.events("step"))
    if steps:
        value |= {"steps": steps[-1]["step"], "loss": round(float(steps[-1]["loss"]), 4)}
    validations = list(run.events("validation"))
    if validations:
        value["best_validation_loss"] = round(min(float(e["loss"]) for e in validations), 4)
    errors = list(run.events("error"))
    if errors:
        value["error"] = errors[-1].get("message")
    report = run.reports / "report.json"
    if report.exists():
        content = read_json(report)
        value["verdict"] = content["verdict"]
        counts = Counter(gate["verdict"] for gate in content["gates"])
        value["gates"] = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
        refused = [gate["id"] for gate in content["gates"] if gate["verdict"] == "refuse"]
        if refused:
            value["refused_by"] = ", ".join(refused)
        value["report"] = str(report.with_suffix(".html"))
    if run.ship.exists():
        value["package"] = str(run.ship)
    if state in NEXT:
        value["next"] = NEXT[state].format(run=run.id)
    return value
