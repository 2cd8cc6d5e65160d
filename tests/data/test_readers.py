"""A line that can't be read is named; none is skipped in silence."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest

from kitae.core.errors import InputError
from kitae.data import Rows, read_conversations

GOOD = json.dumps({"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]}).encode()


def refusal(path: Path, **options: object) -> InputError:
    with pytest.raises(InputError) as caught:
        read_conversations(path, **options)  # type: ignore[arg-type]
    return caught.value


def written(tmp_path: Path, *lines: bytes) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def row(**message: object) -> bytes:
    return json.dumps({"messages": [message]}).encode()


@pytest.mark.parametrize(
    "line",
    [
        b"{broken",
        b'{"messages": [',
        b"\x00\x00\x00",
        b'{"messages": [{"role": "user", "content": "a\x00b"}]}',
        b'{"prompt": "\xff\xfe", "completion": "x"}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"1" * 5000,
        b"[1]",
        b"null",
        b'"text"',
        b'{"messages": "hi"}',
        b'{"messages": []}',
        b'{"messages": ["hi"]}',
        b'{"prompt": 1, "completion": "x"}',
        b'{"prompt": "\\ud800", "completion": "half a character"}',
        row(role="robot", content="x"),
        row(role=["user"], content="x"),
        row(role="user"),
        row(role="user", content=None),
        row(role="user", content=["x"]),
        row(content="x"),
    ],
    ids=lambda line: repr(line[:30]),
)
def test_a_bad_line_in_the_middle_is_named(tmp_path: Path, line: bytes) -> None:
    path = written(tmp_path, GOOD, b"", line, GOOD)
    error = refusal(path)
    assert (error.kind, error.where, error.exit_code) == ("bad-row", f"{path}:3", 2)
    assert error.why and len(error.why) < 500


@pytest.mark.parametrize("line", [b"{}", b'{"body": "x"}', b'{"prompt": "x"}'])
def test_rows_of_no_known_format(tmp_path: Path, line: bytes) -> None:
    path = written(tmp_path, GOOD, line)
    assert (refusal(path).kind, refusal(path).where) == ("row-format", f"{path}:2")


def test_formats(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD, b'{"prompt": "p", "completion": "c"}')
    first, second = read_conversations(path)
    assert (first.messages[0].content, first.source) == ("hi", f"{path}:1")
    assert [(m.role, m.content) for m in second.messages] == [("user", "p"), ("assistant", "c")]
    assert refusal(path, form="prompt-completion").where == f"{path}:1"
    assert refusal(path, form="messages").where == f"{path}:2"


def test_limit_reads_no_further(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD, GOOD, b"{broken")
    assert len(read_conversations(path, limit=2)) == 2
    assert refusal(path, limit=3).where == f"{path}:3"


@pytest.mark.parametrize("content", [b"", b"\n\n  \n"])
def test_files_without_rows(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "empty.jsonl"
    path.write_bytes(content)
    assert (refusal(path).kind, refusal(path).where) == ("data-empty", str(path))


def test_gzip(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    lines = b"".join(json.dumps({"prompt": f"{i * 7919}", "completion": f"{i * 104729}"}).encode() + b"\n" for i in range(2000))
    packed = gzip.compress(lines)
    path.write_bytes(packed)
    assert len(read_conversations(path)) == 2000
    damaged = bytearray(packed)
    damaged[len(packed) // 2 : len(packed) // 2 + 40] = b"\xff" * 40
    for content in (packed[: len(packed) // 2], packed[:-4], bytes(damaged), b"not gzip", packed[:5]):
        path.write_bytes(content)
        assert refusal(path).kind in ("file-unreadable", "bad-row")
        assert str(path) in refusal(path).where


def test_places_that_are_no_file(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.jsonl").kind == "file-missing"
    assert refusal(tmp_path).kind == "no-files"
    assert refusal(Path("a\0b.jsonl")).kind == "file-unreadable"


def test_a_text_file_is_text_unless_it_is_said_to_hold_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.txt"
    line = '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
    path.write_text(line)
    assert [row.messages[0].content for row in read_conversations(path)] == [line]
    assert read_conversations(path, "text") == read_conversations(path)
    (row,) = read_conversations(path, "messages")
    assert row.answer == "b"
    assert read_conversations(path.rename(tmp_path / "chats.txt.jsonl")) == [
        replace(row, source=f"{tmp_path}/chats.txt.jsonl:1")
    ]


def test_rows_survive_saving(tmp_path: Path) -> None:
    rows = Rows(read_conversations(written(tmp_path, GOOD, GOOD)), [], [], 3)
    rows.save(tmp_path / "data")
    assert Rows.load(tmp_path / "data") == rows


def test_a_column_of_the_users_is_not_taken_for_the_rows_place(tmp_path: Path) -> None:
    row = GOOD.removesuffix(b"}") + b', "_source": "elsewhere"}'
    path = written(tmp_path, row)
    assert [conversation.source for conversation in read_conversations(path)] == [f"{path}:1"]


def test_a_byte_order_mark_is_no_part_of_the_first_row(tmp_path: Path) -> None:
    assert len(read_conversations(written(tmp_path, b"\xef\xbb\xbf" + GOOD, GOOD))) == 2
    assert refusal(written(tmp_path, GOOD, b"\xef\xbb\xbf" + GOOD)).kind == "bad-row"
