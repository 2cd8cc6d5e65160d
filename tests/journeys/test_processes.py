"""Several processes train one model, and one of them dies."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from safetensors.torch import load_file

from kitae.recipe import load_recipe
from kitae.runs import Run

from .conftest import Kitae, workplace
from .test_killed import wait_for_step

pytestmark = [pytest.mark.journey, pytest.mark.slow(40)]


TORCHRUN = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
ACCELERATE = ["accelerate.commands.launch", "--num_processes", "2", "--use_fsdp", "--fsdp_version", "2"]


def together(kitae: Kitae, *arguments: object, launcher: list[str] = TORCHRUN) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", *launcher, "-m", "kitae.cli.main", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=kitae.environment(),
    )


def ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What it said. Processes that wait for each other for ever are not left behind."""
    try:
        return process.communicate(timeout=240)
    except subprocess.TimeoutExpired:
        for child in [*psutil.Process(process.pid).children(recursive=True), process]:
            child.kill()
        raise


FULL = ["train.method=full", "train.lora=null", "train.learning_rate=0.001"]
SHARED = ["train.shard=true"]
SETTINGS = {
    "lora": [],
    "dpo": ["train.method=dpo", "data.test=[]"],
    "full, weights shared": [*FULL, *SHARED],
    "lora, weights shared": SHARED,
    "dpo, weights shared": ["train.method=dpo", "data.test=[]", *SHARED],
    "whole answers, weights shared": ["train.early_stopping={by: exact_match, patience: 100}", *SHARED],
}


# The others are started without a launcher, whose imports, and those of what it starts, take longer than the training.
LAUNCHERS = {"lora": TORCHRUN, "full, with accelerate": ACCELERATE}


@pytest.mark.parametrize("name", [*SETTINGS, "full, with accelerate"])
def test_two_take_the_steps_of_one(kitae: Kitae, tiny_model: Path, tmp_path: Path, name: str) -> None:
    """Also those steps that have a single row, of which one process has none, and those of three, with one in a micro-batch."""
    recipe = workplace(tmp_path / "w", tiny_model)
    given = [
        f"train.batch_tokens={500 if name.startswith('dpo') else 340}",  # pairs have two answers
        "train.micro_batch_tokens=150",
        "train.epochs=1",
        "train.early_stopping=null",
        *SETTINGS.get(name, FULL),
    ]
    settings = [part for setting in given for part in ("--set", setting)]
    if name.startswith("dpo"):
        for file in (tmp_path / "w" / "train.jsonl", tmp_path / "w" / "validation.jsonl"):
            rows = [json.loads(line)["messages"] for line in file.read_text().splitlines()]
            pairs = [{"prompt": row[:-1], "chosen": row[-1:], "rejected": [{**row[-1], "content": "No."}]} for row in rows]
            file.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    alone = kitae("train", recipe, *settings, "--json")
    assert alone.code == 0, alone.err + alone.out
    two = Kitae(tmp_path / "two")
    if name in LAUNCHERS:
        out, err = ended(together(two, "train", recipe, *settings, "--json", launcher=LAUNCHERS[name]))
    else:
        done = two.two("train", recipe, *settings, "--json")
        out, err = done.out, done.err
    (run,) = (tmp_path / "two" / "runs").iterdir()
    assert load_recipe(run / "recipe.yaml").train.shard == any(word in name for word in ("shared", "accelerate"))
    assert json.loads(out).get("run") == run.name, err[-3000:] + out  # one process speaks, and writes

    def losses(folder: Path) -> list[float]:
        return [event["loss"] for event in Run(folder).events("step", "validation")]

    expected = Path(alone.json["path"])
    assert losses(run) == pytest.approx(losses(expected), abs=1e-4)
    here, all_of_it = (next(Run(folder).events("laid-out"))["parameters"] for folder in (run, expected))
    assert here < 0.7 * all_of_it if "shared" in name or "accelerate" in name else here == all_of_it
    rows = [json.loads(line)["rows"] for line in (run / "row-losses.jsonl").read_text().splitlines()]
    assert sum(map(len, rows)) == 64
    assert {1, 2, 3} <= set(map(len, rows))
    ours, theirs = (load_file(next(Run(folder).output.glob("*.safetensors"))) for folder in (run, expected))
    assert ours.keys() == theirs.keys()
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in theirs) <= 1e-4


@pytest.mark.parametrize("how", ["one dies", "one dies, weights shared", "told to stop"])
def test_a_run_of_two_ends_with_a_word_and_goes_on(
    kitae: Kitae, session_kitae: Kitae, trained: str, tiny_model: Path, tmp_path: Path, how: str
) -> None:
    recipe = workplace(tmp_path / "w", tiny_model)
    first, second = kitae.begin_two("train", recipe, *(["--set", *SHARED] if "shared" in how else []))
    wait_for_step(kitae.home / "runs", 7)
    if how == "told to stop":  # as a cluster does
        for told in (first, second):
            told.send_signal(signal.SIGTERM)
    else:
        second.kill()
    _, err = first.communicate()
    assert first.returncode != 0
    second.wait()
    (run,) = (kitae.home / "runs").iterdir()
    if how == "told to stop":
        assert Run(run).state == "interrupted", err[-3000:]
    else:
        assert Run(run).state == "failed"
        assert [event["kind"] for event in Run(run).events("error")] == ["process-gone"]
        assert "one of them has ended" in err
    if how == "told to stop":  # a launcher may ask for shared weights when a run goes on, too
        out, err = ended(together(kitae, "train", "--resume", run.name, "--json", launcher=ACCELERATE))
        assert json.loads(out).get("verdict") == "ship", err[-3000:] + out[:3000]
        apart, shared = (event["parameters"] for event in Run(run).events("laid-out"))
        assert shared < 0.7 * apart
    else:
        done = kitae("train", "--resume", run.name, "--json")
        assert done.code == 0, done.err + done.out
    ours, theirs = (
        load_file(r / "adapter" / "adapter_model.safetensors") for r in (run, session_kitae.home / "runs" / trained)
    )
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in theirs) <= 1e-4


def test_what_processes_share_goes_on_in_one_and_back(kitae: Kitae, tiny_model: Path, tmp_path: Path) -> None:
    """Checkpoints hold whole weights and moments, whoever writes them."""
    recipe = workplace(tmp_path / "w", tiny_model)
    given = [*FULL, *SHARED, "train.evaluations=8", "train.batch_tokens=250"]
    settings = [part for setting in given for part in ("--set", setting)]
    whole = kitae("train", recipe, *settings, "--json")
    assert whole.code == 0, whole.err + whole.out
    two = Kitae(tmp_path / "two")
    both = two.begin_two("train", recipe, *settings)
    wait_for_step(two.home / "runs", 12)
    for process in both:
        process.kill()
        process.wait()
    (run,) = (two.home / "runs").iterdir()
    alone = two.begin("train", "--resume", run.name)
    wait_for_step(two.home / "runs", 30)
    alone.send_signal(signal.SIGTERM)
    _, err = alone.communicate(timeout=60)
    assert alone.returncode == 130, err
    done = two.two("train", "--resume", run.name, "--json")
    assert done.json.get("verdict") == "ship", done.err[-3000:] + done.out[:3000]
    ours, theirs = (load_file(folder / "model" / "model.safetensors") for folder in (run, Path(whole.json["path"])))
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in theirs) <= 1e-4
