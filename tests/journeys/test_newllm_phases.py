"""A New-LLM through the command line: in phases, on plain text, killed and resumed, scored and swept."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from kitae.core.files import read_json
from kitae.runs import Run

from .conftest import Kitae

pytestmark = pytest.mark.journey

_PAUSE = 0.02  # seconds; whoever looks without a pause takes a core from what it waits for
WORDS = tuple("the cat sat on a mat while one dog ran over to see what it was all about".split())  # noqa: SIM905


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with text, held-out text, and a tokenizer of its own."""
    folder = tmp_path_factory.mktemp("texts")
    generator = torch.Generator().manual_seed(0)
    lines = [" ".join(WORDS[i] for i in torch.randint(0, len(WORDS), (60,), generator=generator).tolist()) for _ in range(72)]
    for name, part in (("train", lines[:60]), ("held_out", lines[60:])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in part))
    (folder / "book.txt").write_text("\n".join(lines[:30]))
    done = Kitae(tmp_path_factory.mktemp("home"))(
        "tokenizer", "train", folder / "train.jsonl", "--out", folder / "tokenizer", "--vocab-size", 300
    )
    assert done.code == 0, done.err
    return folder


def recipe(folder: Path, texts: Path, train: str, new: str = "", name: str = "lm") -> Path:
    path = folder / "recipe.yaml"
    path.write_text(
        f"name: {name}\n"
        f"model: {{source: new, max_length: 64, new: {{arch: newllm, tokenizer: {texts}/tokenizer, hidden_size: 32{new}}}}}\n"
        f"data:\n  train: [{{path: {texts}/train.jsonl}}]\n  validation: [{{path: {texts}/held_out.jsonl}}]\n"
        f"train: {{{train}, batch_tokens: 512, learning_rate: 0.01, precision: fp32}}\n"
    )
    return path


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "model.safetensors")


def only_run(kitae: Kitae) -> Path:
    (run,) = (kitae.home / "runs").iterdir()
    return run


@pytest.mark.slow(20)
@pytest.mark.parametrize("freeze", ["false", "true"])
@pytest.mark.parametrize("phase", ["contexts", "tokens"])
def test_stopped_in_a_phase_and_resumed_is_as_if_never_stopped(
    kitae: Kitae, texts: Path, tmp_path: Path, phase: str, freeze: str
) -> None:
    cache = ", remember_mb: 0" if freeze == "true" else ""  # what is remembered changes contexts, within the tolerance
    path = recipe(
        tmp_path, texts, f"method: newllm, newllm: {{epochs: 2, freeze: {freeze}{cache}}}, epochs: 2", ", mixing: 0.5"
    )
    undisturbed = Kitae(tmp_path / "other")
    whole = undisturbed("train", path, "--json")
    assert whole.code == 0, whole.err + whole.out
    process = kitae.begin("train", path)
    seen = ""
    while f'"phase": "{phase}"' not in seen:
        assert process.poll() is None, process.said()
        time.sleep(_PAUSE)
        seen = "".join(file.read_text() for file in kitae.home.glob("runs/*/events.jsonl"))
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode == 130
    run = only_run(kitae)
    assert (run / "contexts").exists() == (phase == "tokens")
    done = kitae("train", "--resume", run.name, "--json")
    assert done.code == 0, done.err + done.out
    expected, found = weights(Path(whole.json["path"])), weights(run)
    assert expected.keys() == found.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], atol=1e-5, rtol=0)
    kinds = [event["event"] for event in Run(run).events("contexts", "validation")]
    assert kinds.index("validation") > kinds.index("contexts")
    assert not (run / "checkpoints-contexts").exists()


def test_frozen_contexts_are_remembered_for_the_next_run(kitae: Kitae, texts: Path, tmp_path: Path) -> None:
    path = recipe(tmp_path, texts, "method: newllm, newllm: {epochs: 0, freeze: true}, epochs: 1")
    hits = []
    for _ in range(2):
        run = Path(kitae("train", path, "--json", KITAE_CACHE=str(tmp_path / "cache")).json["path"])
        hits.append(next(Run(run).events("remembered"))["hits"])
    count = next(Run(run).events("remembered"))["count"]
    assert 0 < hits[0] < count
    assert hits[1] == count
    assert read_json(run / "model" / "config.json")["tie_word_embeddings"] is False
    assert kitae("generate", run.name, "the cat", "--max-tokens", 3).code == 0


def test_text_is_learned_scored_proven_and_shipped(kitae: Kitae, texts: Path, tmp_path: Path) -> None:
    path = recipe(tmp_path, texts, "method: full, epochs: 6")
    done = kitae("train", path, "--json")
    assert done.code == 0, done.err + done.out
    run = done.json["run"]
    report = Path(done.json["path"]) / "reports" / "eval.json"
    assert kitae("eval", run, "--rows", 3, "--json").json["suites"]["language"]["rows"] == 3
    assert not report.exists()  # a part is not taken for the whole
    score = kitae("eval", run, "--json")
    assert score.code == 0, score.err
    assert read_json(report)["suites"] == score.json["suites"]
    language = score.json["suites"]["language"]
    assert language["bits_per_byte"] < 3.0
    assert language["interval"][0] < language["bits_per_byte"] < language["interval"][1]
    held_out = (texts / "held_out.jsonl").read_text().splitlines()
    assert language["bytes"] == sum(len(json.loads(line)["text"].encode()) for line in held_out)
    assert abs(language["contexts"]["gap"]) < 0.01
    assert 0 < language["bigrams"]["bits_per_byte"] < 4
    chats = [[("user", "the cat"), ("assistant", answer)] for answer in ("sat on a mat", "the dog " * 200)]
    (tmp_path / "chats.jsonl").write_text(
        "".join(json.dumps({"messages": [{"role": r, "content": c} for r, c in chat]}) + "\n" for chat in chats)
    )
    part = kitae("eval", run, "--data", tmp_path / "chats.jsonl", "--suite", "language", "--json").json["suites"]["language"]
    assert (part["rows"], part["left_out"], part["bytes"]) == (1, 1, len("sat on a mat"))
    assert "bits per byte" in kitae("eval", run, "--against", Path(done.json["path"]) / "start").out
    shipped = kitae("ship", run, "--json")
    assert shipped.code == 0
    assert [row["tokens_per_second"] for row in shipped.json["table"]] == [None, None, None]  # nothing was asked
    verdict = kitae("verify", run, "--json").json
    assert verdict["verdict"] == "ship", [gate for gate in verdict["gates"] if gate["verdict"] != "pass"]
    assert {gate["case"] for gate in verdict["gates"] if gate["id"].startswith("gguf.")} == {"no-gguf"}


def test_a_text_file_is_a_source(kitae: Kitae, texts: Path, tmp_path: Path) -> None:
    path = recipe(tmp_path, texts, "method: full, epochs: 1")
    path.write_text(path.read_text().replace("train.jsonl", "book.txt"))
    assert kitae("train", path).code == 0


@pytest.mark.slow(20)
def test_a_sweep_shows_every_trial_and_goes_on_where_it_was(kitae: Kitae, texts: Path, tmp_path: Path) -> None:
    path = recipe(tmp_path, texts, "method: full, epochs: 1").rename(tmp_path / "grid.yaml")
    command = ("sweep", path, "--grid", "model.new.blocks=[1],[2, 1]", "--grid", "train.seed=0,1", "--json")
    done = kitae(*command)
    assert done.code == 0, done.err
    trials = done.json["trials"]
    assert [(trial["model.new.blocks"], trial["train.seed"]) for trial in trials] == [
        ([1], 0),
        ([1], 1),
        ([2, 1], 0),
        ([2, 1], 1),
    ]
    assert all(trial["bits_per_byte"] > 0 and trial["memory_mb"] > 0 for trial in trials)
    assert len({trial["bits_per_byte"] for trial in trials}) == 4
    assert [mean["seeds"] for mean in done.json["means"]] == [2, 2]
    runs = sorted((kitae.home / "runs").iterdir())
    assert kitae(*command).json == done.json
    assert sorted((kitae.home / "runs").iterdir()) == runs
    assert kitae("runs", "rm", trials[2]["run"]).code == 0
    assert len(kitae(*command).json["trials"]) == 4
    assert len(list((kitae.home / "runs").iterdir())) == 4


@pytest.mark.slow(30)
@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM"])
def test_a_sweep_that_is_stopped_saves_what_it_has_and_goes_on(kitae: Kitae, texts: Path, tmp_path: Path, how: str) -> None:
    path = recipe(tmp_path, texts, "method: full, epochs: 4").rename(tmp_path / "grid.yaml")
    process = kitae.from_nothing("sweep", path, "--grid", "train.seed=0", group=True)
    while not any('"event": "step"' in file.read_text() for file in kitae.home.glob("runs/*/events.jsonl")):
        assert process.poll() is None
        time.sleep(_PAUSE)
    if how == "Ctrl-C":
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    else:
        process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode == 130
    run = only_run(kitae)
    assert list((run / "checkpoints").iterdir())
    (trial,) = kitae("sweep", path, "--grid", "train.seed=0", "--json").json["trials"]
    assert trial["run"] == run.name
    assert only_run(kitae) == run


def test_a_sweep_is_stopped_before_its_trial_can_hear_it(kitae: Kitae, texts: Path, tmp_path: Path) -> None:
    path = recipe(tmp_path, texts, "method: full, epochs: 4").rename(tmp_path / "grid.yaml")
    process = kitae.from_nothing("sweep", path, "--grid", "train.seed=0,1", group=True)
    while not (trials := psutil.Process(process.pid).children()):
        assert process.poll() is None
        time.sleep(_PAUSE)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode == 130
    assert not any(trial.is_running() for trial in trials)
    assert not list(kitae.home.glob("runs/*"))


@pytest.mark.slow(40)
def test_a_trial_that_outlives_its_sweep_is_no_failure(kitae: Kitae, texts: Path, tmp_path: Path) -> None:
    path = recipe(tmp_path, texts, "method: full, epochs: 40").rename(tmp_path / "grid.yaml")
    command = ("sweep", path, "--grid", "train.epochs=40,1", "--json")
    process = kitae.from_nothing(*command, group=True)
    while not any('"event": "step"' in file.read_text() for file in kitae.home.glob("runs/*/events.jsonl")):
        assert process.poll() is None
        time.sleep(_PAUSE)
    process.kill()
    again = kitae(*command)
    assert again.code == 2 and again.json["error"]["kind"] == "run-busy", again.out
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    states = sorted(Run(run).state for run in (kitae.home / "runs").iterdir())
    assert len(states) == 2 and "trained" in states  # the other trial did not wait


def test_a_failing_trial_does_not_end_a_sweep(kitae: Kitae, texts: Path, tmp_path: Path) -> None:
    path = recipe(tmp_path, texts, "method: full, epochs: 1").rename(tmp_path / "grid.yaml")
    done = kitae("sweep", path, "--grid", "verify.min_validation_rows=8,1000", "--json")
    assert done.code == 1
    fine, failed = done.json["trials"]
    assert fine["bits_per_byte"] > 0
    assert "train.validation" in failed["failure"]


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (("eval", "smollm2-135m-instruct"), "eval-data"),
        (("eval", "no-such-run"), "run-missing"),
        (("eval", "smollm2-135m-instruct", "--suite", "nonsense"), "suite-unknown"),
        (("sweep", "{recipe}", "--grid", "train.seed"), "grid"),
        (("sweep", "{recipe}", "--grid", "train.seed=[1"), "grid"),
        (("sweep", "{recipe}", "--grid", "train.seed=1,1"), "grid-twice"),
        (("sweep", "{recipe}", "--grid", "train.seed=1", "--grid", "train.seed=2"), "grid-twice"),
        (("sweep", "{recipe}", "--grid", "train.sed=1"), "recipe"),
    ],
)
def test_what_cannot_be_scored(kitae: Kitae, texts: Path, tmp_path: Path, arguments: tuple[str, ...], kind: str) -> None:
    path = recipe(tmp_path, texts, "method: full")
    done = kitae(*(part.format(recipe=path) for part in arguments), "--json")
    assert (done.code, done.json["error"]["kind"]) == (2, kind)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ('{"text": ""}', "bad-row"),
        ('{"text": "   "}', "bad-row"),
        ('{"text": 5}', "bad-row"),
        ('{"text": "\\ud800"}', "bad-row"),
        ("", "data-empty"),
    ],
)
def test_texts_that_are_none(kitae: Kitae, texts: Path, tmp_path: Path, change: str, kind: str) -> None:
    (tmp_path / "bad.jsonl").write_text(change)
    path = recipe(tmp_path, texts, "method: full")
    path.write_text(path.read_text().replace(f"{texts}/train.jsonl", "bad.jsonl"))
    done = kitae("train", path, "--json")
    assert (done.code, done.json["error"]["kind"]) == (2, kind)
    assert not (kitae.home / "runs").exists()


@pytest.mark.parametrize("train", ["method: full", "method: newllm, newllm: {variety: 0}"])
def test_two_processes_take_the_steps_of_one(kitae: Kitae, texts: Path, tmp_path: Path, train: str) -> None:
    path = recipe(tmp_path, texts, f"{train}, epochs: 1, micro_batch_tokens: 256")
    alone = kitae("train", path, "--json")
    assert alone.code == 0, alone.err
    done = Kitae(tmp_path / "two").two("train", path, "--json")
    assert done.code == 0, done.err
    (run,) = (tmp_path / "two" / "runs").iterdir()
    assert done.json["run"] == run.name  # one process speaks, and writes

    def losses(folder: Path) -> list[float]:
        return [event["loss"] for event in Run(folder).events("step", "validation", "contexts")]

    expected = losses(Path(alone.json["path"]))
    assert losses(run) == pytest.approx(expected, abs=1e-4)
    assert len(expected) > 10
