"""Files as bytes and as blocks of text, packed or not."""

from __future__ import annotations

import codecs
import contextlib
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from kitae.errors import InputError

_LINE = 1 << 20  # read at once; a file may be a single line
_BLOCK = 1 << 16  # bytes; lines stay together, because empty ones between paragraphs are text too


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


def is_plain_text(path: Path) -> bool:
    return (path.with_suffix("") if path.suffix == ".gz" else path).suffix == ".txt"


def text_blocks(path: Path) -> Iterator[tuple[int, str]]:
    """(number of the first line, lines). The blocks of a file, joined, are the file."""
    block: list[str] = []
    size = number = 0
    first, empty = 1, True
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
                yield first, "".join(block)
                block, size, first = [], 0, number + 1
    try:
        block.append(decoder.decode(b"", final=True))
    except UnicodeDecodeError as error:
        raise _not_utf8(path, number + 1, error) from error
    if empty:
        raise InputError("text-empty", where=str(path))
    if block:
        yield first, "".join(block)


def _not_utf8(path: Path, line: int, error: UnicodeDecodeError) -> InputError:
    return InputError("text-encoding", where=f"{path}:{line}", why=str(error))
