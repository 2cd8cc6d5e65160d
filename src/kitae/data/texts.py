"""The bare text of files: for what learns from text alone, such as a tokenizer."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path

from kitae.data.readers import each_conversation, opened
from kitae.errors import InputError

_LINE = 1 << 20  # read at once; a file may be a single line
_BLOCK = 1 << 16  # bytes; lines stay together, because empty ones between paragraphs are text too


def read_texts(path: Path, roles: bool = False) -> Iterator[str]:
    """Plain text in blocks of lines where the name says `.txt`, else every message of every row.

    With `roles` a message begins with its role on a line of its own, as chat templates write it.
    """
    if ".txt" in path.suffixes[-2:]:
        yield from _blocks(path)
        return
    for row in each_conversation(path):
        for message in row.messages:
            yield f"{message.role}\n{message.content}" if roles else message.content


def _blocks(path: Path) -> Iterator[str]:
    block: list[str] = []
    size = number = 0
    empty = True
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    with opened(path) as file:
        while line := file.readline(_LINE):
            try:
                text = decoder.decode(line)
            except UnicodeDecodeError as error:
                raise _not_utf8(path, number + 1, error) from error
            number += line.endswith(b"\n")
            block.append(text)
            size += len(line)
            empty = empty and not text.strip()
            if size >= _BLOCK:
                yield "".join(block)
                block, size = [], 0
    try:
        block.append(decoder.decode(b"", final=True))
    except UnicodeDecodeError as error:
        raise _not_utf8(path, number + 1, error) from error
    if empty:
        raise InputError("text-empty", where=str(path))
    if block:
        yield "".join(block)


def _not_utf8(path: Path, line: int, error: UnicodeDecodeError) -> InputError:
    return InputError("text-encoding", where=f"{path}:{line}", why=str(error))
