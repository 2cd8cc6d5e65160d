"""The front door: one result on stdout, the right exit code, never a traceback."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.machine_speed import slowness

from kitae import __version__
from kitae.cli.main import run
from kitae.cli.result import width
from kitae.runs import create_run

KITAE = str(Path(sys.executable).with_name("kitae"))
GOOD = "name: demo\ndata:\n  train: [{path: t.jsonl}]\n"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "r.yaml"
    path.write_text(GOOD, encoding="utf-8")
    return path


class Said:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err
        assert "Traceback" not in out + err

    @property
    def json(self) -> Any:
        assert self.err == ""
        return json.loads(self.out)


@pytest.fixture
def kitae(capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*arguments: str) -> Said:
        capsys.readouterr()
        code = run(arguments)
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return call


def process(*arguments: str, **environment: str) -> Said:
    command = [KITAE, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})
    return Said(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["nope"], "usage"),
        (["runs"], "usage"),
        (["runs", "nope"], "usage"),
        (["recipe", "show"], "usage"),
        (["train", "--epochs", "3"], "usage"),
        (["train"], "recipe-or-resume"),
        (["generate", "x", "y", "--temperature", "-1"], "usage"),
        (["generate", "x", "y", "--max-tokens", "many"], "usage"),
        (["quickstart", "--prompts", "1"], "usage"),
        (["export", "x", "--gguf", "Q9"], "quant-unknown"),
        (["ship", "x", "--quant", "Q9"], "quant-unknown"),
        (["recipe", "check", "none.yaml"], "file-missing"),
        (["runs", "show", "nope"], "run-missing"),
        (["runs", "show", "x" * 5000], "run-missing"),
        (["runs", "show", "~nobody-here"], "run-missing"),
        (["runs", "rm", "../x"], "run-missing"),
        (["ship", "nope"], "run-missing"),
        (["--lang", "xx", "runs", "list"], "language"),
        (["runs", "list", "--lang=xx"], "language"),
        (["runs", "list", "--lang"], "language"),
        (["--", "--json"], "usage"),
    ],
)
def test_wrong_input(kitae: Any, arguments: list[str], kind: str) -> None:
    said = kitae(*arguments)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("✗ ")
    assert "→" in said.err
    told = kitae("--json", *arguments)
    assert told.code == 2
    error = told.json["error"]
    assert error["kind"] == kind
    assert {"kind", "message", "where", "why", "fix"} <= set(error)
    assert error["message"]


def test_it_tells_its_version(kitae: Any) -> None:
    assert kitae("--version").out == f"kitae {__version__}\n"
    assert kitae("--version", "--json").json == {"version": __version__}


@pytest.mark.parametrize(
    "arguments", [["--json", "nope"], ["nope", "--json"], ["--lang", "xx", "--json"], ["--json", "--lang", "xx", "--quiet"]]
)
def test_flags_stand_anywhere(kitae: Any, arguments: list[str]) -> None:
    said = kitae(*arguments)
    assert said.code == 2
    assert "error" in said.json


def test_languages(kitae: Any) -> None:
    assert "コマンド" in kitae("nope", "--lang", "ja").err
    assert "コマンド" in kitae("--lang=ja", "nope").err
    assert "understood" in kitae("nope", "--lang=en").err
    assert "学習" in process("--lang", "ja", "--help").out
    assert "学習" in process("--help", KITAE_LANG="ja").out


@pytest.mark.parametrize("arguments", [[], ["--help"], ["train", "--help"], ["recipe", "--help"], ["runs", "list", "--help"]])
def test_help(arguments: list[str]) -> None:
    said = process(*arguments)
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("Usage: kitae")


def test_help_is_one_json_document_too() -> None:
    said = process("train", "--help", "--json")
    assert said.json["help"].startswith("Usage: kitae train")


def test_help_is_quick() -> None:
    seconds = []
    for _ in range(5):
        began = time.monotonic()
        assert process("--help").code == 0
        seconds.append(time.monotonic() - began)
    assert statistics.median(seconds) < 0.35 * slowness(), seconds


@pytest.mark.parametrize(
    ("statement", "unwanted"),
    [
        ("import kitae", ["torch", "transformers", "pydantic", "numpy", "typer"]),
        ("import kitae.cli.commands", ["torch", "transformers", "pydantic", "numpy", "llama_cpp"]),
        ("import kitae.recipe", ["torch", "transformers", "numpy"]),
        ("import kitae.runs", ["torch", "transformers", "pydantic", "numpy"]),
    ],
)
def test_imports_are_light(statement: str, unwanted: list[str]) -> None:
    code = f"{statement}; import sys; print(*[name for name in {unwanted!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_recipe_new_writes_what_show_reads(kitae: Any, tmp_path: Path) -> None:
    for name in ("mine", "2024", "my recipe"):
        path = str(tmp_path / f"{name}.yaml")
        assert kitae("recipe", "new", path, "--train", "a b: #c.jsonl", "--json").json["recipe"] == path
        shown = kitae("recipe", "show", path, "--json").json
        assert shown["data"]["train"][0]["path"] == str(tmp_path / "a b: #c.jsonl")
        again = kitae("recipe", "new", path)
        assert (again.code, again.out) == (2, "")


def test_recipe_new_where_nothing_can_be_written(kitae: Any, recipe: Path) -> None:
    said = kitae("--json", "recipe", "new", str(recipe / "x.yaml"))
    assert said.code == 2
    assert said.json["error"]["kind"] == "not-writable"


def test_recipe_check_names_every_mistake(kitae: Any, recipe: Path) -> None:
    recipe.write_text(GOOD + "modle: 1\ntrain: {epochs: no}\n", encoding="utf-8")
    said = kitae("recipe", "check", str(recipe))
    assert (said.code, said.out) == (2, "")
    assert f"{recipe}:4: modle: unknown key." in said.err
    assert f"{recipe}:5: train.epochs:" in said.err
    found = kitae("recipe", "check", str(recipe), "--json", "--set", "train.seed=x").json["error"]["problems"]
    assert {p["key"] for p in found} == {"modle", "train.epochs", "train.seed"}
    assert {p["where"] for p in found} == {f"{recipe}:4", f"{recipe}:5", "--set train.seed=x"}


def test_recipe_show(kitae: Any, recipe: Path) -> None:
    said = kitae("recipe", "show", str(recipe), "--set", "train.epochs=9")
    assert (said.code, said.err) == (0, "")
    value = kitae("recipe", "show", str(recipe), "--set", "train.epochs=9", "--json").json
    assert yaml.safe_load(said.out) == value
    assert value["train"]["epochs"] == 9


def test_recipe_schema(kitae: Any) -> None:
    schema = kitae("recipe", "schema", "--json").json
    assert schema["required"] == ["name", "data"]
    assert json.loads(kitae("recipe", "schema").out) == schema


def test_a_new_recipe_shows_what_the_template_says_unasked(kitae: Any, tmp_path: Path) -> None:
    assert "named SmolLM" in kitae("recipe", "new", str(tmp_path / "a.yaml")).out
    assert "named SmolLM" in kitae("recipe", "new", str(tmp_path / "b.yaml"), "--json").json["system"]


def test_runs(kitae: Any) -> None:
    assert kitae("runs", "list", "--json").json == {"runs": []}
    assert kitae("runs", "list").out.startswith("No runs yet")
    made = create_run("demo", GOOD)
    expected = {"run": made.id, "state": "running", "path": str(made.path)}
    (listed,) = kitae("runs", "list", "--json").json["runs"]
    assert expected.items() <= listed.items()
    assert made.id in kitae("runs", "list").out
    assert expected.items() <= kitae("runs", "show", "demo", "--json").json.items()
    assert kitae("runs", "rm", "demo", "--json").json["error"]["kind"] == "run-running"
    made.set_state("trained")
    assert kitae("runs", "rm", "demo", "--json").json == {"removed": made.id}
    assert kitae("runs", "list", "--json").json == {"runs": []}


def test_what_nobody_expected(kitae: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr("kitae.runs.all_states", fail)
    said = kitae("runs", "list", "--json")
    assert said.code == 1
    assert said.json["error"]["kind"] == "unexpected"
    assert "boom" in said.json["error"]["why"]


@pytest.mark.parametrize(("raised", "code", "kind"), [(KeyboardInterrupt, 130, "interrupted"), (MemoryError, 1, "memory")])
def test_what_ends_a_command(
    kitae: Any, monkeypatch: pytest.MonkeyPatch, raised: type[BaseException], code: int, kind: str
) -> None:
    def fail(*_: object) -> None:
        raise raised

    monkeypatch.setattr("kitae.runs.all_states", fail)
    said = kitae("runs", "list", "--json")
    assert said.code == code
    assert said.json["error"]["kind"] == kind


def test_arguments_that_are_no_text() -> None:
    said = process("runs", "show", os.fsdecode(b"\xff"), "--json")
    assert said.code == 2
    assert said.json["error"]["kind"] == "run-missing"


def test_a_terminal_that_speaks_ascii(recipe: Path) -> None:
    recipe.write_text(GOOD.replace("t.jsonl", "データ.jsonl"), encoding="utf-8")
    assert process("recipe", "show", str(recipe), PYTHONIOENCODING="ascii").code == 0


def test_no_colour_without_a_terminal(kitae: Any) -> None:
    assert "\x1b" not in kitae("nope").err


@pytest.mark.parametrize("arguments", [[], ["train"], ["generate"], ["recipe"], ["data", "split"], ["tokenizer"], ["runs"]])
def test_help_speaks_one_language_cuts_nothing_and_fits(arguments: list[str]) -> None:
    japanese = process("--lang", "ja", *arguments, "--help").out
    english = re.compile(r"Usage|Options|Arguments|Commands|OPTIONS|COMMAND|ARGS|Show this|default|required")
    assert not english.findall(japanese), japanese
    for said in (japanese, process(*arguments, "--help").out):
        assert "..." not in said.replace("[ARGS]...", "").replace("[引数]...", "").replace("{IN}...", "")
        assert max(width(line) for line in said.splitlines()) <= 80
