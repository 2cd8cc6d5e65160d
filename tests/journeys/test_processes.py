"""Several processes train one model, and one of them dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from safetensors.torch import load_file

from kitae.runs import Run

from .conftest import Kitae, workplace
from .test_killed import wait_for_step

pytestmark = pytest.mark.journey


def together(kitae: Kitae, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.Popen(
        [*command, "-m", "kitae.cli.main", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=kitae.environment(),
    )


@pytest.mark.parametrize("method", ["lora", "dpo"])
def test_two_take_the_steps_of_one(kitae: Kitae, tiny_model: Path, tmp_path: Path, method: str) -> None:
    """Also those steps that have a single row, of which one process has none."""
    recipe = workplace(tmp_path / "w", tiny_model)
    settings = ["--set", "train.batch_tokens=120", "--set", "train.epochs=1", "--set", "train.early_stopping=null"]
    if method == "dpo":
        for name in ("train", "validation"):
            file = tmp_path / "w" / f"{name}.jsonl"
            rows = [json.loads(line)["messages"] for line in file.read_text().splitlines()]
            pairs = [{"prompt": row[:-1], "chosen": row[-1:], "rejected": [{**row[-1], "content": "No."}]} for row in rows]
            file.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
        settings += ["--set", "train.method=dpo", "--set", "data.test=[]"]
    alone = kitae("train", recipe, *settings, "--json")
    assert alone.code == 0, alone.err + alone.out
    two = Kitae(tmp_path / "two")
    out, err = together(two, "train", recipe, *settings, "--json").communicate(timeout=240)
    (run,) = (tmp_path / "two" / "runs").iterdir()
    assert json.loads(out)["run"] == run.name, err[-3000:]  # one process speaks, and writes

    def losses(folder: Path) -> list[float]:
        return [event["loss"] for event in Run(folder).events("step", "validation")]

    expected = losses(Path(alone.json["path"]))
    assert losses(run) == pytest.approx(expected, abs=1e-4)
    rows = [json.loads(line)["rows"] for line in (run / "row-losses.jsonl").read_text().splitlines()]
    assert sum(map(len, rows)) == 64
    assert any(len(step) == 1 for step in rows)


def test_a_process_that_dies_ends_the_run_which_goes_on(
    kitae: Kitae, session_kitae: Kitae, trained: str, tiny_model: Path, tmp_path: Path
) -> None:
    recipe = workplace(tmp_path / "w", tiny_model)
    process = together(kitae, "train", recipe)
    wait_for_step(kitae.home / "runs", 7)
    (victim,) = (child for child in psutil.Process(process.pid).children(recursive=True) if child.environ().get("RANK") == "1")
    os.kill(victim.pid, signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "one of them has ended" in err or "SIGTERM" in err, err[-3000:]
    (run,) = (kitae.home / "runs").iterdir()
    for _ in range(100):
        if Run(run).state != "running":
            break
        time.sleep(0.1)
    assert Run(run).state in ("failed", "interrupted")
    done = kitae("train", "--resume", run.name, "--json")
    assert done.code == 0, done.err + done.out
    ours, theirs = (
        load_file(r / "adapter" / "adapter_model.safetensors") for r in (run, session_kitae.home / "runs" / trained)
    )
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in theirs) <= 1e-4
