"""From files to conversations. A record that can't be read is named by its place, never skipped in silence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from kitae.chat import Conversation
from kitae.core.errors import InputError
from kitae.core.row_options import Format
from kitae.data.read.opening import is_plain_text, text_blocks
from kitae.data.read.places import files_of
from kitae.data.read.records import Found, each_record
from kitae.data.read.shapes import conversation

Reject = Callable[[InputError], None]


def read_conversations(
    path: Path, form: Format = "auto", limit: int | None = None, source_key: str | None = None, reject: Reject | None = None
) -> list[Conversation]:
    """`source_key` names the field in which rows that a run saved remember where they came from. `reject` is told what can't be
    read; without it, that ends the work."""
    return list(each_conversation(path, form, limit, source_key, reject))


def each_conversation(
    path: Path, form: Format = "auto", limit: int | None = None, source_key: str | None = None, reject: Reject | None = None
) -> Iterator[Conversation]:
    """One row at a time, for files that are larger than memory."""
    left = limit
    for file in files_of(path):
        for row in _rows(file, form, source_key, reject):
            yield row
            if left is not None:
                left -= 1
                if left == 0:  # what comes after may be anything
                    return


def _rows(path: Path, form: Format, source_key: str | None, reject: Reject | None) -> Iterator[Conversation]:
    count = 0
    plain = form in ("auto", "text") and is_plain_text(path)
    for where, record in each_found(path, form):
        count += 1
        try:
            if isinstance(record, InputError):
                raise record
            if plain:  # of whose blocks some may be nothing but empty lines
                yield Conversation.of_text(record["text"], where)
                continue
            source = record.pop(source_key, None) if source_key else None
            yield conversation(record, form, where, source if isinstance(source, str) else where)
        except InputError as error:
            if reject is None:
                raise
            reject(error)
    if not count:
        raise InputError("data-empty", where=str(path))


def each_found(path: Path, form: Format) -> Iterator[Found]:
    """Every record of a file, or what is wrong with it, in its place. A file that breaks off has given what it had before."""
    if form in ("auto", "text") and is_plain_text(path):
        found: Iterator[Found] = ((f"{path}:{line}", {"text": text}) for line, text in text_blocks(path))
    else:
        found = each_record(path)
    begun = False
    while True:
        try:
            one = next(found, None)
        except InputError as error:
            if not begun:
                raise
            yield error.where, error
            return
        if one is None:
            return
        begun = True
        yield one
