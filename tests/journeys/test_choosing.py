"""Rows are chosen and written by whole commands, which are killed and go on."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from kitae.core.errors import EXIT_FAILED, EXIT_INTERRUPTED
from tests.openai_server import Answer, endpoint
from tests.scripted_writer import reply, task

from ..conftest import STARTER
from .conftest import Kitae, workplace

ROWS = [
    {"instruction": task(f"row {i}"), "output": f"This is answer number {i}. " + "More of it follows. " * (i % 7), "id": i}
    for i in range(150)
]


def written(path: Path, rows: Sequence[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return written(tmp_path / "rows.jsonl", [*ROWS, {"instruction": "Without an answer?", "output": ""}, {"nothing": 1}])


@pytest.fixture
def seeds(tmp_path: Path) -> Path:
    return written(tmp_path / "seeds.jsonl", [{"instruction": task(f"seed {i}"), "output": f"Answer {i}."} for i in range(10)])


def asked_of(request: dict[str, Any]) -> tuple[str, int]:
    return json.dumps(request["messages"]), request["seed"]


def until(true: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.slow(15)
@pytest.mark.parametrize("way", ["random", "longest", "ifd", "diverse", "similar", "ifd+diverse", "longest+similar"])
def test_every_way_chooses(kitae: Kitae, rows: Path, tiny_model: Path, tmp_path: Path, way: str) -> None:
    more = ["--target", written(tmp_path / "target.jsonl", ROWS[:3])] if "similar" in way else []
    reading = [STARTER, "--limit", 20] if "ifd" in way else [tiny_model]  # to one that knows nothing, no question is of help
    command = ["data", "select", rows, "--by", way, "--rows", 9, *more, "--json", "--model", *reading]
    done = kitae(*command, "--out", tmp_path / "out")
    assert done.code == 0, done.err + done.out
    kept = read(tmp_path / "out" / "kept.jsonl")
    assert len(kept) == 9 and all(row in ROWS for row in kept)
    scores = read(tmp_path / "out" / "scores.jsonl")
    ranked = sorted((score for score in scores if score["rank"]), key=lambda score: score["rank"])
    assert [int(score["where"].rpartition(":")[2]) - 1 for score in ranked] == [row["id"] for row in kept]
    if "ifd" not in way:
        assert scores[150]["left_out"] == ["no-answer"] and done.json["unreadable"] == 1
        assert read(tmp_path / "out" / "rejected.jsonl")[0]["nothing"] == 1
    again = done.json["command"].replace(f"--out {tmp_path / 'out'}", f"--out {tmp_path / 'again'}").split()[1:]
    assert kitae(*again).code == 0
    assert (tmp_path / "again" / "kept.jsonl").read_bytes() == (tmp_path / "out" / "kept.jsonl").read_bytes()


@pytest.mark.slow(30)
def test_reading_goes_on_after_a_kill(kitae: Kitae, rows: Path, tiny_model: Path, tmp_path: Path) -> None:
    command = ["data", "select", rows, "--by", "longest+diverse", "--rows", 20, "--model", tiny_model, "--out"]
    cache = tmp_path / "cache"
    for moment, number in ((1, signal.SIGKILL), (2, signal.SIGINT)):
        process = kitae.begin(*command, tmp_path / "out", KITAE_CACHE=str(cache))
        until(lambda moment=moment: len(list(cache.glob("readings/*/*.npy"))) >= moment)
        process.send_signal(number)
        _, err = process.communicate()
        assert process.returncode in ((-signal.SIGKILL,) if number == signal.SIGKILL else (EXIT_INTERRUPTED, 0)), err
        assert "Traceback" not in err
    before = {path: path.stat().st_mtime_ns for path in cache.glob("readings/*/*.npy")}
    assert before
    if not (tmp_path / "out").exists():
        assert kitae(*command, tmp_path / "out", KITAE_CACHE=str(cache)).code == 0
    assert all(path.stat().st_mtime_ns == when for path, when in before.items())  # nothing was read twice
    assert kitae(*command, tmp_path / "whole", KITAE_CACHE=str(tmp_path / "other")).code == 0
    for name in ("kept.jsonl", "scores.jsonl"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_judge_rates(kitae: Kitae, rows: Path, tiny_model: Path, tmp_path: Path) -> None:
    def says(body: dict[str, Any], _: int) -> Answer:
        said = body["messages"][0]["content"]
        return Answer("no idea" if "number 7." in said else "5" if "number 11." in said or "number 12." in said else "2")

    command = ["data", "select", rows, "--by", "judge", "--rows", 2, "--model", tiny_model, "--limit", 30, "--json", "--out"]
    with endpoint(says) as server:
        done = kitae(*command, tmp_path / "out", "--judge", f"{server.url}#wise")
        assert done.code == 0, done.err
        assert {row["id"] for row in read(tmp_path / "out" / "kept.jsonl")} == {11, 12}
        assert done.json["left_out"] == {"unjudged": 1}
        asked = len(server.asked)
        assert kitae(*command, tmp_path / "again", "--judge", f"{server.url}#wise").code == 0
        assert len(server.asked) == asked  # what was rated stays rated


def test_nothing_is_paid_for_before_all_is_known_to_be_there(
    kitae: Kitae, rows: Path, tiny_model: Path, tmp_path: Path
) -> None:
    with endpoint(lambda body, number: Answer("5")) as server:
        command = ["data", "select", rows, "--by", "judge+similar", "--rows", 2, "--model", tiny_model, "--limit", 5, "--json"]
        done = kitae(*command, "--target", tmp_path / "nothing.jsonl", "--judge", f"{server.url}#m", "--out", tmp_path / "out")
        assert done.code == 2 and done.json["error"]["kind"] == "file-missing" and not server.asked
    for judge, kind in (
        ("nothing", "model-missing"),
        ("http://127.0.0.1:1/v1", "endpoint-model"),
        ("ftp://x#m", "endpoint-url"),
    ):
        done = kitae(
            "data", "select", rows, "--by", "judge", "--rows", 2, "--judge", judge, "--out", tmp_path / "out", "--json"
        )
        assert done.code == 2 and done.json["error"]["kind"] == kind, done.out


@pytest.mark.slow(20)
def test_choices_are_compared_by_what_they_teach(kitae: Kitae, tiny_model: Path, tmp_path: Path) -> None:
    recipe = workplace(tmp_path, tiny_model)
    command = ["data", "select", "--compare", recipe, "--by", "diverse", "--tokens", 1500, "--model", tiny_model, "--json"]
    done = kitae(*command, "--out", tmp_path / "out")
    assert done.code == 0, done.err + done.out
    selections = {found["by"]: found for found in done.json["selections"]}
    assert set(selections) == {"random", "longest", "diverse"}
    assert all(1300 < found["tokens"] <= 1500 and found["bits_per_byte"] > 0 for found in selections.values())
    assert "difference" not in selections["random"] and selections["diverse"]["difference"]["plus_minus"] is not None
    held_back = {json.dumps(row["messages"]) for row in read(tmp_path / "out" / "validation.jsonl")}
    for way in selections:
        assert not held_back & {json.dumps(row["messages"]) for row in read(tmp_path / "out" / way / "kept.jsonl")}
    before = {path: path.stat().st_mtime_ns for path in (kitae.home / "runs").rglob("*.safetensors")}
    again = kitae(*command, "--out", tmp_path / "out")
    assert again.code == 0 and again.json["selections"] == done.json["selections"]
    assert before == {path: path.stat().st_mtime_ns for path in (kitae.home / "runs").rglob("*.safetensors")}
    assert (tmp_path / "out" / "comparison.html").exists()


def test_rows_that_a_recipe_has_cleaned_are_not_judged_again(kitae: Kitae, tiny_model: Path, tmp_path: Path) -> None:
    """What its rules let pass is no reason to refuse a trial."""
    recipe = workplace(tmp_path, tiny_model)
    lines = read(tmp_path / "train.jsonl")
    for i, row in enumerate(lines):
        row["messages"][1]["content"] += f" Write to a{i}@kitae.dev."
    written(tmp_path / "train.jsonl", lines)
    recipe.write_text(recipe.read_text().replace("data:\n", "data:\n  clean: {rules: {data.private: keep}}\n"))
    command = ["data", "select", "--compare", recipe, "--by", "random", "--tokens", 1500, "--model", tiny_model]
    done = kitae(*command, "--out", tmp_path / "out", "--json")
    assert done.code == 0, done.err + done.out
    assert all(found["bits_per_byte"] > 0 for found in done.json["selections"])


def test_a_choice_that_can_not_be_trained_on_is_told(kitae: Kitae, tiny_model: Path, tmp_path: Path) -> None:
    recipe = workplace(tmp_path, tiny_model)
    recipe.write_text(recipe.read_text().replace("data:\n", "data:\n  evaluations: [train.jsonl]\n"))
    command = ["data", "select", "--compare", recipe, "--by", "random", "--tokens", 1500, "--model", tiny_model]
    done = kitae(*command, "--out", tmp_path / "out", "--json")
    assert done.code == EXIT_FAILED, done.err + done.out
    assert all(found["failure"] and found["bits_per_byte"] is None for found in done.json["selections"])
    table = kitae(*command, "--out", tmp_path / "out").out
    assert all(f"{found['by']}: {found['failure']}" in table for found in done.json["selections"])


def test_a_recipe_may_choose(kitae: Kitae, tiny_model: Path, tmp_path: Path) -> None:
    recipe = workplace(tmp_path, tiny_model)
    chosen = f"data.select={{by: longest, rows: 20, model: {tiny_model}}}"
    checked = kitae("recipe", "check", recipe, "--set", chosen, "--json")
    assert checked.code == 0 and checked.json["rows"] == 20, checked.err
    done = kitae("train", recipe, "--set", chosen, "--set", "train.epochs=1", "--json")
    assert done.code == 0, done.err
    kept = read(kitae.home / "runs" / done.json["run"] / "data" / "train.jsonl")
    everything = sorted(read(tmp_path / "train.jsonl"), key=lambda row: -len(row["messages"][-1]["content"]))
    assert len(kept) == 20
    assert sum(len(row["messages"][-1]["content"]) for row in kept) > sum(
        len(row["messages"][-1]["content"]) for row in everything[20:40]
    )


@pytest.mark.parametrize(
    "wrong",
    [
        "{by: ifd}",
        "{by: ifd, rows: 3, share: 0.1}",
        "{by: best, rows: 3}",
        "{by: similar, rows: 3}",
        "{by: ifd, rows: 3, judge: x}",
        "{by: ifd+ifd, rows: 3}",
        "{rows: 3}",
    ],
)
def test_a_recipe_that_can_not_choose(kitae: Kitae, tiny_model: Path, tmp_path: Path, wrong: str) -> None:
    done = kitae("recipe", "check", workplace(tmp_path, tiny_model), "--set", f"data.select={wrong}", "--json")
    assert done.code == 2 and "data.select" in done.json["error"]["why"]


@pytest.mark.parametrize("wrong", ["{by: similar, rows: 3, targets: [nothing.jsonl]}", "{by: judge, rows: 3, judge: nothing}"])
def test_what_a_recipe_names_must_be_there(kitae: Kitae, tiny_model: Path, tmp_path: Path, wrong: str) -> None:
    done = kitae("recipe", "check", workplace(tmp_path, tiny_model), "--set", f"data.select={wrong}", "--json")
    assert done.code == 2 and done.json["error"]["kind"] in ("file-missing", "model-missing"), done.out


def says(body: dict[str, Any], _: int) -> Answer:
    return Answer(reply(body["messages"][-1]["content"]))


@pytest.mark.parametrize("method", ["self-instruct", "evol-instruct", "craft", "cot-self-instruct"])
def test_every_method_writes(kitae: Kitae, seeds: Path, tmp_path: Path, method: str) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n\n".join(f"Chapter {i}. " + f"The {i}th harbour was closed in winter. " * 40 for i in range(30)))
    more = ["--corpus", corpus] if method == "craft" else []
    with endpoint(says) as server:
        command = [
            "data",
            "synth",
            seeds,
            "--method",
            method,
            "--writer",
            f"{server.url}#w",
            "--rows",
            10,
            *more,
            "--licence",
            "MIT",
        ]
        done = kitae(*command, "--out", tmp_path / "out", "--json")
        assert done.code == 0, done.err
        kept = read(tmp_path / "out" / "kept.jsonl")
        assert len(kept) == done.json["kept"] == 10 and done.json["ended"] == "enough"
        assert all(row["_licence"] == "MIT" and row["_lineage"]["method"] == method for row in kept)
        calls = {key.partition(" ")[2] for line in read(tmp_path / "out" / "calls.jsonl") for key, _ in line.get("replies", [])}
        assert all(set(row["_lineage"]["calls"]) <= calls for row in kept)
        assert done.json["spent"]["calls"] == len(server.asked)
    preview = kitae("data", "preview", tmp_path / "out" / "kept.jsonl", "--rows", 1)
    assert preview.code == 0  # what was written can be trained on


@pytest.mark.slow(30)
def test_writing_goes_on_after_a_kill(kitae: Kitae, seeds: Path, tmp_path: Path) -> None:
    def slowly(body: dict[str, Any], _: int) -> Answer:
        return Answer(reply(body["messages"][-1]["content"]), pause=0.05)

    with endpoint(slowly) as server:
        command = ["data", "synth", seeds, "--method", "evol-instruct", "--writer", f"{server.url}#w", "--rows", 20, "--out"]
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
            before = len(server.asked)
            process = kitae.begin(*command, tmp_path / "out")
            until(lambda before=before: len(server.asked) >= before + 12)
            process.send_signal(number)
            _, err = process.communicate()
            assert process.returncode == (-signal.SIGKILL if number == signal.SIGKILL else EXIT_INTERRUPTED), err
            assert "Traceback" not in err
        killed = len(server.asked)
        done = kitae(*command, tmp_path / "out", "--json")
        assert done.code == 0, done.err
        twice = killed + len(server.asked[killed:]) - len(set(map(asked_of, server.asked)))
        assert twice <= 3 * 4  # only what was under way when it was killed
        assert done.json["spent"]["calls_lost"] <= 3 * 4
        paid = len(server.asked)
        assert kitae(*command, tmp_path / "whole").code == 0
        assert len(server.asked) > paid
        for name in ("kept.jsonl", "rejected.jsonl"):
            assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_more_rows_and_larger_budgets_go_on(kitae: Kitae, seeds: Path, tmp_path: Path) -> None:
    with endpoint(says) as server:
        command = ["data", "synth", seeds, "--method", "evol-instruct", "--writer", f"{server.url}#w"]
        command += ["--out", tmp_path / "out"]
        poor = kitae(*command, "--rows", 10, "--max-tokens", 64, "--budget", 0.002, "--price", "1,4", "--json")
        assert poor.code == 0 and poor.json["ended"] == "budget" and poor.json["spent"]["money"] <= 0.002, poor.err
        asked = len(server.asked)
        rich = kitae(*command, "--rows", 10, "--max-tokens", 64, "--json")
        assert rich.code == 0 and rich.json["kept"] == 10
        assert rich.json["spent"]["calls"] == len(server.asked) > asked
        more = kitae(*command, "--rows", 14, "--max-tokens", 64, "--json")
        assert more.json["kept"] == 14 and more.json["spent"]["calls"] == len(server.asked)
        fewer = kitae(*command, "--rows", 9, "--max-tokens", 64, "--json")
        assert fewer.code == 2 and fewer.json["error"]["kind"] == "synth-fewer"
        assert len(read(tmp_path / "out" / "kept.jsonl")) == 14
        other = kitae(*command, "--rows", 10, "--max-tokens", 99, "--json")
        assert other.code == 2 and other.json["error"]["kind"] == "synth-other"


def test_seeds_of_the_exam_do_not_grow(kitae: Kitae, seeds: Path, tmp_path: Path) -> None:
    exam = written(tmp_path / "exam.jsonl", [{"question": row["instruction"]} for row in read(seeds)[:4]])
    with endpoint(says) as server:
        command = ["data", "synth", seeds, "--writer", f"{server.url}#w", "--rows", 6, "--json", "--method", "evol-instruct"]
        done = kitae(*command, "--evaluation", exam, "--out", tmp_path / "out")
        assert done.code == 0, done.out
        parents = {parent["where"] for row in read(tmp_path / "out" / "kept.jsonl") for parent in row["_lineage"]["parents"]}
        assert parents and not parents & {f"{seeds}:{line}" for line in range(1, 5)}
        asked = len(server.asked)
        nothing = kitae(*command, "--evaluation", seeds, "--out", tmp_path / "none")
        assert nothing.code == 2 and nothing.json["error"]["kind"] == "seeds-examined" and len(server.asked) == asked


def test_a_budget_for_nothing_is_told(kitae: Kitae, seeds: Path, tmp_path: Path) -> None:
    with endpoint(says) as server:
        command = ["data", "synth", seeds, "--writer", f"{server.url}#w", "--rows", 3, "--budget-tokens", 10, "--json"]
        done = kitae(*command, "--out", tmp_path / "out")
        assert done.code == 2 and done.json["error"]["kind"] == "budget-small" and not server.asked


def test_a_key_is_for_whom_it_was_given(kitae: Kitae, seeds: Path, tmp_path: Path) -> None:
    with endpoint(says) as writer, endpoint(says) as judge:
        command = ["data", "synth", seeds, "--writer", f"{writer.url}#w", "--judge", f"{judge.url}#j", "--keep", "judged"]
        command += ["--rows", 2, "--method", "evol-instruct", "--json", "--out"]
        assert kitae(*command, tmp_path / "out", OPENAI_API_KEY="sk-writer").code == 0
        assert set(writer.keys) == {"Bearer sk-writer"} and set(judge.keys) == {None}
        other = kitae(*command, tmp_path / "other", "--judge-key-env", "JUDGE", OPENAI_API_KEY="sk-writer", JUDGE="sk-judge")
        assert other.code == 0 and judge.keys[-1] == "Bearer sk-judge"
        assert "sk-" not in "".join(file.read_text() for file in (tmp_path / "other").iterdir())


def test_an_endpoint_that_breaks_down_loses_nothing(kitae: Kitae, seeds: Path, tmp_path: Path) -> None:

    def sometimes(body: dict[str, Any], number: int) -> Answer:
        return says(body, number) if number < 30 else Answer(raw=b"overloaded")

    with endpoint(sometimes) as server:
        command = ["data", "synth", seeds, "--method", "evol-instruct", "--writer", f"{server.url}#w", "--rows", 20, "--json"]
        done = kitae(*command, "--out", tmp_path / "out")
        assert done.code == 1 and done.json["error"]["kind"] == "endpoint-failing", done.out
        whole = read(tmp_path / "out" / "kept.jsonl")
        assert 0 < len(whole) < 20
        server.says = says
        asked = len(server.asked)
        again = kitae(*command, "--out", tmp_path / "out")
        assert again.code == 0 and again.json["kept"] == 20
        assert read(tmp_path / "out" / "kept.jsonl")[: len(whole)] == whole
        first, later = server.asked[:30], server.asked[asked:]
        assert not set(map(asked_of, first)) & set(map(asked_of, later))


def test_a_model_of_this_machine_writes(kitae: Kitae, seeds: Path, tiny_model: Path, tmp_path: Path) -> None:
    """It knows nothing, so nothing it writes can be kept; that is said with reasons."""
    command = [
        "data",
        "synth",
        seeds,
        "--writer",
        tiny_model,
        "--rows",
        4,
        "--max-tokens",
        16,
        "--method",
        "evol-instruct",
        "--json",
    ]
    done = kitae(*command, "--out", tmp_path / "out")
    assert done.code == 1 and done.json["error"]["kind"] == "synth-barren", done.out + done.err
    rejected = read(tmp_path / "out" / "rejected.jsonl")
    assert rejected and all(row["_reasons"] for row in rejected)
    asked = (tmp_path / "out" / "calls.jsonl").read_bytes()
    assert kitae(*command, "--out", tmp_path / "out").code == 1
    assert (tmp_path / "out" / "calls.jsonl").read_bytes() == asked


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["--method", "craft"], "synth-corpus"),
        (["--corpus", "seeds.jsonl"], "synth-no-corpus"),
        (["--answers", "3"], "synth-answers"),
        (["--keep", "consistent"], "synth-answers"),
        (["--judge", "smollm2-135m-instruct"], "synth-judge"),
        (["--budget", "1"], "synth-price"),
        (["--budget", "1", "--price", "1"], "price"),
        (["--language", "xx"], "language-unknown"),
        (["--writer", "http://127.0.0.1:1/v1"], "endpoint-model"),
        (["--writer", "nothing"], "model-missing"),
        (["--evaluation", "nothing.jsonl"], "file-missing"),
    ],
)
def test_what_can_not_be_written(
    kitae: Kitae, seeds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    writer = [] if "--writer" in arguments else ["--writer", "http://127.0.0.1:1/v1#m"]
    done = kitae("data", "synth", seeds, "--rows", 3, "--out", tmp_path / "out", *writer, *arguments, "--json")
    assert done.code == 2 and done.json["error"]["kind"] == kind, done.out
    assert done.json["error"]["fix"] and not (tmp_path / "out" / "kept.jsonl").exists()
