"""The records of a file, one at a time: lines of JSON, a JSON document, a table of text, or Parquet.

A record that can't be read comes as the error that says so, in its place, so that none is lost: whoever reads decides whether
it ends the work.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
import sys
from collections import deque
from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from kitae.core.errors import InputError, first_line
from kitae.data.read.messages import is_turn
from kitae.data.read.opening import bare_suffix, not_utf8, opened, spelled, text_pieces

Record = dict[str, Any]
Found = tuple[str, "Record | InputError"]  # with its place


class BadRecord(InputError):
    """A record that can't be read, and its text."""

    raw: str = ""


_SHOWN = 120  # characters of what can't be read
_BATCH = 1024  # rows of Parquet
_ROW_LINES = 10_000  # of one row of a table: more is a lost quotation mark
_BETWEEN = re.compile(r",\s*(?=\{)")
_TRIED = 1000  # places after a broken record of a list at which the next may begin
_TABLES = {".csv": ",", ".tsv": "\t"}


def each_record(path: Path) -> Iterator[Found]:
    suffix = bare_suffix(path)
    if suffix in _TABLES:
        return _table(path, _TABLES[suffix])
    if suffix == ".parquet":
        return _parquet(path)
    if suffix == ".json" and not _is_lines(path):
        return _document(path)
    return _lines(path)


def _lines(path: Path) -> Iterator[Found]:
    with opened(path) as file:
        for number, line in enumerate(file, 1):
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)  # as spreadsheets and some editors write it
            if not line.strip():
                continue
            where = f"{path}:{number}"
            try:
                yield where, _checked(json.loads(line.decode("utf-8")), where, first=number == 1)
            except (ValueError, RecursionError) as error:
                yield where, _broken(where, error, line.decode("utf-8", "backslashreplace"), first=number == 1)


def _is_lines(path: Path) -> bool:
    """Whether a file that is called a document holds one record a line, as many do."""
    first: Record | None = None
    with opened(path) as file:
        for line in file:
            if not line.strip().removeprefix(codecs.BOM_UTF8):
                continue
            if first is not None:
                return True
            try:
                value = json.loads(line.decode("utf-8-sig"))
            except (ValueError, RecursionError):
                return False
            if not isinstance(value, dict):
                return False
            first = value
    return first is None or not any(_is_list_of_records(value) for value in first.values())


def _is_list_of_records(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict) and not is_turn(value[0])


def _document(path: Path) -> Iterator[Found]:
    """A list of records, or an object in which one key holds that list."""
    text = _Stream(text_pieces(path))
    opening = text.peek()
    where = str(path)
    if opening == "{":
        text.skip()
        while text.peek() == '"':
            key = text.value(where)
            text.expect(":", where)
            if text.peek() == "[":
                yield from _list(text, f"{path}:{key}")
                return
            text.value(where)
            if text.peek() == ",":
                text.skip()
        raise InputError("not-jsonl", where=where, why="no list in it")
    if why := not_utf8(opening):
        raise InputError("text-encoding", where=where, why=why)
    if opening != "[":
        raise InputError("not-jsonl" if opening else "data-empty", where=where, why=repr(opening))
    yield from _list(text, where)


def _list(text: _Stream, where: str) -> Iterator[Found]:
    text.skip()
    number, keys = 0, None  # the fields of the first record, by which others are known
    while text.peek() not in ("]", ""):
        place = f"{where}[{number}]"
        try:
            value = text.value(place)
        except BadRecord as error:
            if keys is None or (raw := text.to_next(keys)) is None:
                raise
            yield place, _bad("bad-row", place, error.why, spelled(raw))
        else:
            if why := not_utf8(text.read):
                yield place, _bad("bad-row", place, why, spelled(text.read))
            else:
                yield place, _checked(value, place)
                keys = keys or (value.keys() if isinstance(value, dict) else None)
        number += 1
        if text.peek() == ",":
            text.skip()
        elif text.peek() != "]":
            break
    text.expect("]", f"{where}[{number}]")


class _Stream:
    """JSON values out of pieces of text. What is read is let go, so a list may be larger than memory."""

    def __init__(self, pieces: Iterator[str]) -> None:
        self._pieces = pieces
        self._held, self._at = "", 0
        self.read = ""  # of the value before
        self._decoder = json.JSONDecoder()

    def peek(self) -> str:
        """The next character that is no space, or nothing at the end."""
        while True:
            while self._at < len(self._held):
                if not self._held[self._at].isspace():
                    return self._held[self._at]
                self._at += 1
            if not self._more():
                return ""

    def skip(self) -> None:
        self._at += 1

    def expect(self, character: str, where: str) -> None:
        if self.peek() != character:
            raise InputError("bad-row", where=where, why=f"{self.peek()!r} ≠ {character!r}")
        self.skip()

    def value(self, where: str) -> Any:
        self.peek()
        pieces = 1
        while True:
            try:
                value, end = self._decoder.raw_decode(self._held, self._at)
                if end < len(self._held) or not self._more():  # a number may go on
                    self.read, self._at = self._held[self._at : end], end
                    return value
            except (ValueError, RecursionError) as error:
                if not sum(self._more() for _ in range(pieces)):
                    raise _broken(where, error, self._held[self._at :]) from error
                pieces *= 2  # so that a long value isn't tried again for each of its pieces

    def to_next(self, keys: Collection[str]) -> str | None:
        """From a value that is none to the next one with these keys; what was passed over. All has been read by now."""
        for found in islice(_BETWEEN.finditer(self._held, self._at), _TRIED):
            try:
                value, _ = self._decoder.raw_decode(self._held, found.end())
            except (ValueError, RecursionError):
                continue
            if isinstance(value, dict) and value.keys() == set(keys):
                raw, self._at = self._held[self._at : found.start()], found.start() + found.group().index(",")
                return raw
        return None

    def _more(self) -> bool:
        piece = next(self._pieces, None)
        if piece is None:
            return False
        self._held, self._at = self._held[self._at :] + piece, 0
        return True


def _table(path: Path, separator: str) -> Iterator[Found]:
    csv.field_size_limit(sys.maxsize)
    lines = _Lines(_text_lines(path))
    header: list[str] | None = None
    while True:
        where = lines.begin(path)
        try:
            row = next(csv.reader(lines, delimiter=separator, strict=True))
        except StopIteration:
            return
        except csv.Error as error:  # a lost quotation mark makes one field of lines that are rows of their own
            yield where, _bad("bad-row", where, str(error), lines.only_first())
            continue
        if not row:
            continue
        why = not_utf8("".join(row))
        if why and header is None:
            raise InputError("text-encoding", where=where, why=why)
        if why:
            yield where, _bad("bad-row", where, why, spelled(separator.join(row)))
            continue
        if header is None:
            header = row
            if len(set(header)) < len(header):
                raise InputError("bad-row", where=where, why=f"columns of one name: {', '.join(header)}"[:_SHOWN])
        elif len(row) != len(header):
            yield where, _bad("bad-row", where, f"{len(row)} columns ≠ {len(header)}", separator.join(row))
        else:
            yield where, dict(zip(header, row, strict=True))


class _Lines:
    """Lines of a table, of which those of a row that can't be read may be taken back."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._row: list[str] = []
        self._again: deque[str] = deque()
        self._count = 0

    def begin(self, path: Path) -> str:
        self._row = []
        return f"{path}:{self._count + 1}"

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        if len(self._row) >= _ROW_LINES:
            raise csv.Error(f"more than {_ROW_LINES} lines in one field")
        line = self._again.popleft() if self._again else next(self._lines)
        self._count += 1
        self._row.append(line)
        return line

    def only_first(self) -> str:
        """Of the row; the others come again."""
        self._again.extendleft(reversed(self._row[1:]))
        self._count -= len(self._row) - 1
        return self._row[0].rstrip("\r\n")


def _text_lines(path: Path) -> Iterator[str]:
    """With their ends, which a field between quotation marks may hold."""
    rest = ""
    for piece in text_pieces(path):
        *lines, rest = (rest + piece).split("\n")
        yield from (f"{line}\n" for line in lines)
    if rest:
        yield rest


def _parquet(path: Path) -> Iterator[Found]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    with opened(path) as file:
        try:
            seekable = file if path.suffix == ".parquet" else io.BytesIO(file.read())
            for batch in pq.ParquetFile(seekable).iter_batches(batch_size=_BATCH):
                for record in batch.to_pylist():
                    yield f"{path}[{number}]", record
                    number += 1
        except pa.ArrowException as error:
            raise InputError("file-unreadable", where=f"{path}[{number}]", why=first_line(error)) from error


def _checked(value: object, where: str, first: bool = False) -> Record | InputError:
    if isinstance(value, dict):
        return value
    text = json.dumps(value, ensure_ascii=False)
    return _bad("not-jsonl" if first else "bad-row", where, f"{type(value).__name__} is not an object", text)


def _broken(where: str, error: Exception, text: str, first: bool = False) -> InputError:
    why = f"{first_line(error)} | {text[:_SHOWN].strip()}"
    return _bad("not-jsonl" if first else "bad-row", where, why, text)


def _bad(kind: str, where: str, why: str, raw: str) -> InputError:
    error = BadRecord(kind, where=where, why=why)
    error.raw = raw
    return error
