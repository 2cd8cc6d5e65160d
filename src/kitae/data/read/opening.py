"""Files as bytes and as blocks of text, packed or not."""

from __future__ import annotations

import codecs
import contextlib
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import zstandard

from kitae.core.errors import InputError
from kitae.data.read.hub import is_hub, opened_remote

_PACKED = (".gz", ".zst")
_PIECE = 1 << 16
_HALF = re.compile("[\udc80-\udcff]")
_LINE = 1 << 20  # read at once; a file may be a single line
_BLOCK = 1 << 16  # bytes; lines stay together, because empty ones between paragraphs are text too


@contextlib.contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """A file, packed or not; whatever goes wrong while it is read is said of it."""
    try:
        with opened_remote(path) if is_hub(path) else path.open("rb") as file:
            if path.suffix == ".gz":
                yield gzip.GzipFile(fileobj=file)  # type: ignore[misc]  # it reads as any file does
            elif path.suffix == ".zst":
                yield io.BufferedReader(_Zstandard(file))
            else:
                yield file
    except FileNotFoundError as error:
        raise InputError("file-missing", where=str(path)) from error
    except (OSError, EOFError, zlib.error, zstandard.ZstdError, ValueError) as error:
        raise InputError("file-unreadable", where=str(path), why=str(error)) from error


class _Zstandard(io.RawIOBase):
    """Frames, one after another. The library's own reader takes a file that is cut off for a whole one."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._packed = self._plain = b""
        self._frame: zstandard.ZstdDecompressionObj | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        view = memoryview(buffer)
        while not self._plain:
            self._packed = self._packed or self._file.read(_PIECE)
            if not self._packed:
                if self._frame is not None:
                    raise EOFError("the file ends within a frame")
                return 0
            if self._frame is None:
                self._frame = zstandard.ZstdDecompressor().decompressobj()
            self._plain = self._frame.decompress(self._packed)
            self._packed = self._frame.unused_data if self._frame.eof else b""
            if self._frame.eof:
                self._frame = None
        count = min(len(view), len(self._plain))
        view[:count], self._plain = self._plain[:count], self._plain[count:]
        return count


def bare_suffix(path: Path) -> str:
    """What a file holds, packed or not."""
    return (path.with_suffix("") if path.suffix in _PACKED else path).suffix.lower()


def is_plain_text(path: Path) -> bool:
    return bare_suffix(path) == ".txt"


def text_pieces(path: Path) -> Iterator[str]:
    """All of a file's text, as it comes. Bytes that are no UTF-8 come as half characters, of which `not_utf8` tells."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
    with opened(path) as file:
        while True:
            read = file.read(_PIECE)
            text = decoder.decode(read, final=not read)
            if text:
                yield text
            if not read:
                return


def not_utf8(text: str) -> str:
    """What Python says of the first bytes in it that are none; nothing if all are."""
    if text.isascii() or not _HALF.search(text):
        return ""
    try:
        text.encode("utf-8", "surrogateescape").decode("utf-8")
    except UnicodeDecodeError as error:
        return str(error)
    return ""


def spelled(text: str) -> str:
    """With such bytes as a person can read them."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") if not_utf8(text) else text


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
