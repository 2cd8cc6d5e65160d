"""From files to conversations. A line that can't be read is named by file and line, never skipped in silence."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from kitae.chat import Conversation
from kitae.data.messages import chat, check_whole
from kitae.data.opening import is_plain_text, opened, text_blocks
from kitae.data.preferences import preference
from kitae.errors import InputError

Format = Literal["auto", "messages", "prompt-completion", "preference", "text"]


def read_conversations(
    path: Path, form: Format = "auto", limit: int | None = None, source_key: str | None = None
) -> list[Conversation]:
    """`source_key` names the field in which rows that a run saved remember where they came from."""
    return list(each_conversation(path, form, limit, source_key))


def each_conversation(
    path: Path, form: Format = "auto", limit: int | None = None, source_key: str | None = None
) -> Iterator[Conversation]:
    """One row at a time, for files that are larger than memory."""
    if form in ("auto", "text") and is_plain_text(path):
        yield from islice((Conversation.of_text(text, f"{path}:{line}") for line, text in text_blocks(path)), limit)
        return
    empty = True
    for line, row in islice(_lines(path), limit):
        where = f"{path}:{line}"
        source = row.pop(source_key, None) if source_key else None
        empty = False
        yield _conversation(row, form, where, source if isinstance(source, str) else where)
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


def _conversation(row: dict[str, Any], form: Format, where: str, source: str) -> Conversation:
    if form in ("auto", "preference") and "chosen" in row and "rejected" in row:
        return preference(row, where, source)
    if form in ("auto", "messages") and "messages" in row:
        return Conversation(tuple(chat(row["messages"], where)), source)
    if form in ("auto", "prompt-completion") and "prompt" in row and "completion" in row:
        turns = [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["completion"]}]
        return Conversation(tuple(chat(turns, where)), source)
    if form in ("auto", "text") and "text" in row:
        return Conversation.of_text(_plain_text(row, where), source)
    raise InputError("row-format", where=where, why=", ".join(map(str, row)))


def _plain_text(row: dict[str, Any], where: str) -> str:
    text = row["text"]
    if not isinstance(text, str) or not text.strip():
        raise InputError("bad-row", where=where, why=f"text: {text!r}"[:80])
    check_whole(text, where, "text")
    return text
