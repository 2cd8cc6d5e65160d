"""A run in a few lines."""

from __future__ import annotations

from kitae.files import JsonDict, read_json
from kitae.runs import Run


def describe(run: Run) -> JsonDict:
    value: JsonDict = {"run": run.id, "state": run.state, "path": str(run.path)}
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
        refused = [gate["id"] for gate in content["gates"] if gate["verdict"] == "refuse"]
        if refused:
            value["refused_by"] = ", ".join(refused)
        value["report"] = str(report.with_suffix(".html"))
    if run.ship.exists():
        value["package"] = str(run.ship)
    return value
