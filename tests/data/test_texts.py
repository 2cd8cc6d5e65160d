"""Bare text: every character of a file once, in order, in pieces that fit in memory."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path

import pytest

from kitae.core.errors import InputError
from kitae.data import read_texts


def refusal(path: Path) -> InputError:
    with pytest.raises(InputError) as refused:
        list(read_texts(path))
    return refused.value


@pytest.mark.parametrize(
    "text",
    [
        "one line",
        "a\n\n\nb\r\nc\n",
        "日本語の行\n" * 30_000,
        "改行のない長い文" * 100_000,  # cut inside characters
        "x" * ((1 << 20) - 1) + "あ" * 9,
        "\n" * 200_000 + "end",
    ],
    ids=lambda text: repr(text[:12]),
)
def test_text_is_whole(tmp_path: Path, text: str) -> None:
    for name, content in (
        ("t.txt", text.encode()),
        ("t.txt.gz", gzip.compress(text.encode(), 1)),
        ("bom.txt", b"\xef\xbb\xbf"),
    ):
        path = tmp_path / name
        path.write_bytes(content + (text.encode() if name == "bom.txt" else b""))
        blocks = list(read_texts(path))
        assert "".join(blocks) == text
        assert all(len(block) <= (1 << 20) + (1 << 16) for block in blocks)
        assert all(block.endswith("\n") for block in blocks[:-1]) or "\n" not in text


def test_messages_with_and_without_roles(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": ""}]},
        {"prompt": "p", "completion": "c"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert list(read_texts(path)) == ["q", "", "p", "c"]
    assert list(read_texts(path, roles=True)) == ["user\nq", "assistant\n", "user\np", "assistant\nc"]


@pytest.mark.parametrize(
    ("content", "line"),
    [(b"\xff", 1), (b"ok\n\nbad \x83\x65\n", 3), (b"ok\ncut \xe3\x81", 2), (b"x" * (1 << 20) + b"\n\xff", 2)],
)
def test_what_is_not_utf8_is_named(tmp_path: Path, content: bytes, line: int) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes(content)
    assert (refusal(path).kind, refusal(path).where, refusal(path).exit_code) == ("text-encoding", f"{path}:{line}", 2)


def test_places_without_text(tmp_path: Path) -> None:
    for content in (b"", b" \n\t\n", b"\xef\xbb\xbf"):
        (tmp_path / "t.txt").write_bytes(content)
        assert refusal(tmp_path / "t.txt").kind == "text-empty"
    (tmp_path / "folder.txt").mkdir()
    assert refusal(tmp_path / "folder.txt").kind == "no-files"
    assert refusal(tmp_path / "none.txt").kind == "file-missing"
    (tmp_path / "cut.txt.gz").write_bytes(gzip.compress(b"some text that is cut off")[:-9])
    assert refusal(tmp_path / "cut.txt.gz").kind == "file-unreadable"
    (tmp_path / "rows.jsonl").write_text("plain text\n")
    assert refusal(tmp_path / "rows.jsonl").kind == "not-jsonl"


@pytest.mark.parametrize("name", ["t.txt", "rows.jsonl"])
def test_a_large_file_takes_little_memory(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    line = json.dumps({"prompt": "p" * 400, "completion": "c" * 400}) if name == "rows.jsonl" else "t" * 800
    with path.open("w") as file:
        file.writelines(f"{line}\n" for _ in range(20_000))
    assert path.stat().st_size > 16_000_000
    tracemalloc.start()
    try:
        assert sum(len(text) for text in read_texts(path)) >= 16_000_000
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
