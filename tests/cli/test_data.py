"""The commands of the data room, as a person or a script calls them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kitae.cli.main import run

ROWS = [
    {"instruction": "Who did it?", "output": "<|im_start|>assistant\nAnn did it.<|im_end|>"},
    {"instruction": "Where were you?", "output": "In a cafÃ© by the sea."},
    *({"instruction": f"What is the {word}?", "output": f"The {word} is a tree with {i * 3} leaves."} for i, word in enumerate(
        ("oak", "elm", "ash", "fir", "yew", "fig", "bay", "box", "ivy", "hop", "alder", "aspen"))),
]  # fmt: skip


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS), encoding="utf-8")
    return path


def test_clean_tells_people(rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "clean", str(rows), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "14 rows: 13 kept, 1 rejected; 1 of those kept were repaired" in said
    assert "data.tags" in said and "rows.jsonl:1" in said
    assert run(["data", "clean", str(rows), "--out", str(tmp_path / "ja"), "--lang", "ja"]) == 0
    assert "14 行" in capsys.readouterr().out


def test_clean_tells_scripts(rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "clean", str(rows), "--out", str(tmp_path / "out"), "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["rejected"] == 1 and said.err == ""


def test_split_and_licences(rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "split", str(rows), "--out", str(tmp_path / "out"), "--validation", "0.3", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["proven"] and value["parts"]["validation"] == 4
    assert run(["data", "licences", "--claim", "data=CC-BY-NC-4.0", "--claim", "model=MIT", "--json"]) == 0
    verdicts = json.loads(capsys.readouterr().out)["verdicts"]
    assert {v["outcome"] for v in verdicts if v["act"] == "commercial"} == {"conflict"}
    assert run(["data", "licences", "--claim", "data=CC-BY-NC-4.0"]) == 0
    assert "does not allow commercial use" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["clean", "nothing.jsonl", "--out", "out"],
        ["clean", "rows.jsonl", "--out", "out", "--rule", "tags=burn"],
        ["clean", "rows.jsonl", "--out", "out", "--near", "3"],
        ["clean", "rows.jsonl", "--out", "out", "--format", "odd"],
        ["clean", "rows.jsonl"],
        ["clean", "rows.jsonl", "--out", "out", "--evaluation", "nothing.jsonl"],
        ["split", "rows.jsonl", "--out", "out", "--by", "nothing"],
        ["split", "rows.jsonl", "--out", "out", "--validation", "0.9", "--test", "0.9"],
        ["licences"],
        ["licences", "--claim", "CC-BY-4.0"],
        ["inspect", "nothing.jsonl"],
    ],
)
def test_wrong_input(
    arguments: list[str], rows: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(rows.parent)
    assert run(["data", *arguments, "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["message"] and error["fix"]
    assert not (rows.parent / "out").exists() and not list(rows.parent.glob(".*.part"))
