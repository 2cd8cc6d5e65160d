"""benchmarks/gpu.py does everything it is there for, on two cores."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import ROOT


@pytest.mark.slow(90)
def test_every_part_measures_what_it_says(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    command = [sys.executable, ROOT / "benchmarks" / "gpu.py", "--tiny", "--json", "--out", out]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(done.stdout)
    assert report == json.loads(out.read_text()), "what is written as it comes is all that is said"
    assert {name: part["state"] for name, part in report["parts"].items()} == dict.fromkeys(
        ("model", "training", "proof", "serving"), "done"
    )
    rows = report["rows"]
    assert [row for row in rows if "failed" in row] == []
    speeds = [row for row in rows if row["part"] in ("training", "serving") and "skipped" not in row]
    assert all(row["tokens_per_second"] > 0 for row in speeds)
    assert {(row["part"], row["who"]) for row in speeds} == {
        ("training", "kitae"),
        ("training", "trl"),
        ("serving", "kitae"),
        ("serving", "transformers"),
    }
    assert len({row["tokens"] for row in speeds if row["part"] == "training"}) == 1, "all learned the same rows, whole"
    stages = [row["stage"] for row in rows if row["part"] == "proof"]
    assert stages == ["import the base", "train", "merge", "F16", "Q8_0", "verify and package"]
    assert report["ratios"].keys() == {"training", "serving"}


def test_a_part_ends_when_its_time_is_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import gpu  # type: ignore[import-not-found]

    monkeypatch.setitem(gpu.SECONDS, "serving", 0.3)  # less than torch needs to be imported
    report: dict[str, dict[str, dict[str, object]]] = {"parts": {}}
    out = tmp_path / "gpu.json"
    gpu.follow("serving", tmp_path, report, True, out)
    assert report["parts"]["serving"]["state"] == "out of time"
    assert json.loads(out.read_text()) == report
