"""From files to conversations. A line that can't be read is named by file and line, never skipped in silence."""

from __future__ import annotations

import codecs
import contextlib
import gzip
import json
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any, Literal

from kitae.chat import ROLES, Conversation, Message
from kitae.errors import InputError

Format = Literal["auto", "messages", "prompt-completion"]


def read_conversations(
    path: Path, form: Format = "auto", limit: int | None = None, source_key: str | None = None
) -> list[Conversation]:
    """`source_key` names the field in which rows that a run saved remember where they came from."""
    return list(each_conversation(path, form, limit, source_key))


def each_conversation(
    path: Path, form: Format = "auto", limit: int | None = None, source_key: str | None = None
) -> Iterator[Conversation]:
    """One row at a time, for files that are larger than memory."""
    empty = True
    for line, row in islice(_lines(path), limit):
        where = f"{path}:{line}"
        messages = _messages(row, form, where)
        source = row.get(source_key) if source_key else None
        empty = False
        yield Conversation(tuple(messages), source if isinstance(source, str) else where)
    if empty:
        raise InputError("data-empty", where=str(path))


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with opened(path) as file:
        for number, line in enumerate(file, 1):
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)  # as spreadsheets and some editors write it
            if not line.strip():
                continue
            yield number, _row(line, f"{path}:{number}", first=number == 1)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """A file, packed or not; whatever goes wrong while it is read is said of it."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            yield file  # type: ignore[misc]  # a GzipFile reads as any file does
    except FileNotFoundError as error:
        raise InputError("file-missing", where=str(path)) from error
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise InputError("file-unreadable", where=str(path), why=str(error)) from error


def _row(line: bytes, where: str, first: bool) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(
            "not-jsonl" if first else "bad-row", where=where, why=f"{error} | {line[:120].decode('utf-8', 'replace').strip()}"
        ) from error
    if not isinstance(row, dict):
        raise InputError("not-jsonl" if first else "bad-row", where=where, why=f"{type(row).__name__} is not an object")
    return row


def _messages(row: dict[str, Any], form: Format, where: str) -> list[Message]:
    if form in ("auto", "messages") and "messages" in row:
        return _chat(row["messages"], where)
    if form in ("auto", "prompt-completion") and "prompt" in row and "completion" in row:
        return _chat([{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["completion"]}], where)
    raise InputError("row-format", where=where, why=", ".join(map(str, row)))


def _chat(value: object, where: str) -> list[Message]:
    if not isinstance(value, list) or not value:
        raise InputError("bad-row", where=where, why=f"messages: {json.dumps(value, ensure_ascii=False)[:80]}")
    messages = []
    for i, item in enumerate(value):
        if not isinstance(item, dict):
            raise InputError("bad-row", where=where, why=f"messages[{i}]: {type(item).__name__}")
        role, content = item.get("role"), item.get("content")
        if role not in ROLES:
            raise InputError("bad-row", where=where, why=f"messages[{i}].role: {role!r} (known: {', '.join(ROLES)})")
        if not isinstance(content, str):
            raise InputError("bad-row", where=where, why=f"messages[{i}].content: {type(content).__name__}")
        try:
            content.encode("utf-8")  # JSON can spell half a character
        except UnicodeEncodeError as error:
            raise InputError("bad-row", where=where, why=f"messages[{i}].content: {error}") from error
        messages.append(Message(role, content))
    return messages
