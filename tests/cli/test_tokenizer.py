"""Wrong orders and bad texts: told in the catalogue's words, with exit code 2, and nothing is left behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from kitae.cli.main import run
from kitae.core.console import console
from kitae.core.i18n import set_language


@pytest.fixture(autouse=True)
def unchanged() -> Iterator[None]:
    yield
    console.quiet = False
    set_language(None)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "good.txt").write_text("some words that occur twice\n" * 2)
    (folder / "empty.txt").write_text("")
    (folder / "empty.jsonl").write_text("")
    (folder / "latin.txt").write_bytes("naïve\n".encode("latin-1"))
    (folder / "silent.jsonl").write_text('{"prompt": "", "completion": ""}\n')
    (folder / "broken.jsonl").write_text('{"prompt": "", "completion": ""}\n{"prompt": ')
    return folder


@pytest.mark.parametrize(
    ("name", "options", "kind"),
    [
        ("none.txt", [], "file-missing"),
        ("empty.txt", [], "text-empty"),
        ("empty.jsonl", [], "data-empty"),
        ("silent.jsonl", ["--kind", "words"], "text-empty"),
        ("broken.jsonl", [], "bad-row"),
        ("latin.txt", [], "text-encoding"),
        ("good.txt", [], "vocabulary-unfilled"),
        ("good.txt", ["--vocab-size", "100"], "vocabulary-size"),
        ("good.txt", ["--vocab-size", "many"], "usage"),
        ("good.txt", ["--kind", "nope"], "vocabulary-kind"),
        ("good.txt", ["--pre", "nope"], "vocabulary-pre"),
        ("good.txt", ["--kind", "words", "--pre", "gpt-2"], "vocabulary-pre-unused"),
        ("good.txt", ["--special", "word"], "vocabulary-special"),
        ("good.txt", ["--sample-mb", "0"], "usage"),
    ],
)
def test_wrong_orders(
    texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, options: list[str], kind: str
) -> None:
    arguments = ["tokenizer", "train", str(texts / name), "--out", str(tmp_path / "made" / "here"), *options]
    assert run([*arguments, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["kind"] == kind
    console.quiet = False
    messages = set()
    for language in ("en", "ja"):
        assert run([*arguments, "--lang", language]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert "→" in said.err and "Traceback" not in said.err
        messages.add(said.err)
    assert len(messages) == 2
    assert not (tmp_path / "made").exists() or list((tmp_path / "made").iterdir()) == []


def test_a_place_that_is_taken(texts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in texts.iterdir()}
    for out in (texts, texts / "good.txt", texts / "good.txt" / "folder"):
        assert run(["tokenizer", "train", str(texts / "good.txt"), "--out", str(out), "--json"]) == 2
        assert json.loads(capsys.readouterr().out)["error"]["kind"] in ("out-not-empty", "not-writable")
    assert {path: path.read_bytes() for path in texts.iterdir()} == before


def test_nothing_to_inspect(texts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, kind in (
        (["nope"], "model-missing"),
        ([str(texts)], "model-folder"),
        ([str(texts / "none")], "model-missing"),
        (["smollm2-135m-instruct", "--on", str(texts / "none.txt")], "file-missing"),
    ):
        assert run(["tokenizer", "inspect", *arguments, "--json"]) == 2
        assert json.loads(capsys.readouterr().out)["error"]["kind"] == kind
