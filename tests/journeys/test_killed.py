"""A process may die at any moment. What it left is either whole or not there, and the command can be run again."""

from __future__ import annotations

import random
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from kitae.runs import Run

from .conftest import Kitae, workplace

pytestmark = pytest.mark.journey


def adapter(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "adapter" / "adapter_model.safetensors")


def only_run(kitae: Kitae) -> Path:
    (run,) = (kitae.home / "runs").iterdir()
    return run


def wait_for_step(run_folder: Path, step: int) -> None:
    wait_for(run_folder, "events.jsonl", f'"step": {step},')


def wait_for(run_folder: Path, file: str, text: str, timeout: float = 120) -> None:
    until = time.monotonic() + timeout
    while time.monotonic() < until:
        for found in run_folder.glob(f"*/{file}"):
            if text in found.read_text():
                return
        time.sleep(0.01)
    raise AssertionError(f"{text} never came")


@pytest.mark.parametrize("seed", [1, 2])
def test_resumed_training_equals_uninterrupted(
    kitae: Kitae, session_kitae: Kitae, trained: str, tiny_model: Path, tmp_path: Path, seed: int
) -> None:
    recipe = workplace(tmp_path / "w", tiny_model)
    step = random.Random(seed).randint(2, 15)
    process = kitae.begin("train", recipe)
    wait_for_step(kitae.home / "runs", step)
    process.send_signal(signal.SIGKILL)
    process.wait()
    run = only_run(kitae)
    listed = kitae("runs", "list", "--json").json["runs"]
    assert [entry["state"] for entry in listed] == ["interrupted"]
    (tmp_path / "w" / "train.jsonl").unlink()  # a run goes on with the rows that it began with
    done = kitae("train", "--resume", run.name, "--json")
    assert done.code == 0, done.err + done.out
    ours, theirs = adapter(run), adapter(session_kitae.home / "runs" / trained)
    assert ours.keys() == theirs.keys()
    assert max(float((ours[k] - theirs[k]).abs().max()) for k in ours) <= 1e-6


def test_killed_before_its_rows_were_kept(kitae: Kitae, copied: Path) -> None:
    for name in ("data", "adapter", "work"):
        shutil.rmtree(copied / name)
    (copied / "manifest.json").unlink()
    Run(copied).set_state("interrupted")
    assert kitae("train", "--resume", copied.name).code == 0
    assert (copied / "data" / "train.jsonl").exists()


def test_ctrl_c_saves_and_exits_130(kitae: Kitae, tiny_model: Path, tmp_path: Path) -> None:
    recipe = workplace(tmp_path / "w", tiny_model)
    process = kitae.begin("train", recipe)
    wait_for_step(kitae.home / "runs", 3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "--resume" in err
    run = only_run(kitae)
    assert list((run / "checkpoints").glob("checkpoint-*"))
    assert kitae("train", "--resume", run.name).code == 0


@pytest.mark.parametrize(("file", "text"), [("manifest.json", "{"), ("events.jsonl", '"event": "before"')])
def test_asked_to_stop_before_the_first_step(kitae: Kitae, tiny_model: Path, tmp_path: Path, file: str, text: str) -> None:
    process = kitae.begin("train", workplace(tmp_path / "w", tiny_model))
    wait_for(kitae.home / "runs", file, text)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "--resume" in err
    run = only_run(kitae)
    assert Run(run).state == "interrupted"
    assert kitae("train", "--resume", run.name).code == 0


@pytest.mark.parametrize("delay", [0.7, 2.0])
def test_killed_while_merging_and_exporting(kitae: Kitae, copied: Path, delay: float) -> None:
    """Whatever carries its final name is whole; running the command again finishes the work."""
    import shutil

    shutil.rmtree(copied / "work")
    process = kitae.begin("export", copied.name, "--gguf", "Q8_0")
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = kitae("ship", copied.name, "--json")
    assert done.code == 0, done.err + done.out
    assert not list((copied / "ship").rglob("*.part"))


def test_a_run_is_not_trained_twice(kitae: Kitae, copied: Path) -> None:
    done = kitae("train", "--resume", copied.name, "--json")
    assert done.code == 2
    assert done.json["error"]["kind"] == "run-finished"
