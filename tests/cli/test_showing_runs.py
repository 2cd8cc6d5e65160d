"""What is told of runs: enough to know what came of each, and what to do next."""

from __future__ import annotations

from kitae.cli.show import describe, in_a_line
from kitae.core.files import write_json
from kitae.runs import create_run


def test_a_run_in_a_line() -> None:
    run = create_run("chats", "name: chats\ntrain: {method: dora}\n")
    run.set_state("shipped")
    table = [{"form": form, "exact_match": share} for form, share in (("base", 0.0), ("trained", 0.9), ("Q4_K_M", 0.875))]
    gates = [{"id": "hf.stops", "verdict": "pass"}, {"id": "hf.loops", "verdict": "pass"}, {"id": "hf.task", "verdict": "warn"}]
    run.reports.mkdir(exist_ok=True)
    write_json(run.reports / "report.json", {"verdict": "ship", "table": table, "gates": gates})
    line = in_a_line(run, run.state)
    assert (line["method"], line["exact_match"], line["verdict"], line["state"]) == ("dora", 0.875, "ship", "shipped")
    assert line["began"][:2] == "20"
    shown = describe(run)
    assert shown["gates"] == "2 pass, 1 warn" and shown["next"] == f"kitae chat {run.id}" and shown["recipe"]


def test_a_run_that_got_nowhere() -> None:
    run = create_run("chats", "")
    run.set_state("interrupted")
    assert in_a_line(run, run.state)["verdict"] is None
    assert describe(run)["next"] == f"kitae train --resume {run.id}"
