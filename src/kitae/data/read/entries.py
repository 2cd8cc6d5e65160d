"""The rows of files, each with its place: what is read of it, or why nothing is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from kitae.chat import Conversation
from kitae.core.console import console
from kitae.core.errors import InputError
from kitae.core.files import JsonDict
from kitae.core.i18n import t
from kitae.core.row_options import Format
from kitae.data.read.finding import Finding
from kitae.data.read.places import files_of
from kitae.data.read.readers import each_found
from kitae.data.read.records import BadRecord, Record
from kitae.data.read.shapes import conversation

UNREADABLE = "data.unreadable"
REJECTED = "rejected.jsonl"
_NO_UTF8 = "codec can't decode"


@dataclass(frozen=True)
class Entry:
    """A record and its place; or what stands there, and why it is none."""

    where: str
    file: str
    record: Record | None
    raw: str = ""
    why: str = ""


def each_entry(sources: Sequence[Path], form: Format, limit: int | None) -> Iterator[Entry]:
    """Of files that two sources name, once."""
    seen: set[Path] = set()
    for source in sources:
        yield from islice(_entries(source, form, seen, len(sources) == 1), limit)


def _entries(source: Path, form: Format, seen: set[Path], alone: bool) -> Iterator[Entry]:
    """`alone`: where nothing else is read, a file that can't be is an error and not one of many rows."""
    files = files_of(source)
    for file in files:
        if file.resolve() in seen:
            console.say("  " + t("data.same-file", path=file))
            continue
        seen.add(file.resolve())
        empty = True
        try:
            for where, found in each_found(file, form):
                empty = False
                yield _bad(where, file, found) if isinstance(found, InputError) else Entry(where, str(file), found)
        except InputError as error:
            if alone and len(files) == 1:
                raise
            yield _bad(str(file), file, error)
            continue
        if empty:
            console.say("  " + t("data.no-rows", path=file))


def _bad(where: str, file: Path, error: InputError) -> Entry:
    return Entry(where, str(file), None, error.raw if isinstance(error, BadRecord) else "", reason_of(error))


def reason_of(error: InputError) -> str:
    """Without sentences, which would make files depend on the language of whoever asked for them."""
    return f"{error.kind}: {error.why}" if error.why else error.kind


def nothing_read(where: str, why: str) -> InputError:
    """What is said when of some rows none can be read: for bytes that are no UTF-8 there is other advice than for a form."""
    return InputError("not-utf8" if _NO_UTF8 in why else "all-unreadable", where=where, why=why)


def none_of(sources: Sequence[Path], rejected: Sequence[JsonDict]) -> InputError:
    """The same of rows that were read at once; or of sources in which none is."""
    where = ", ".join(map(str, sources))
    return nothing_read(where, rejected[0]["_reasons"][0]["evidence"]) if rejected else InputError("data-empty", where=where)


@dataclass(frozen=True)
class Row:
    record: Record
    talk: Conversation
    file: str


def read_rows(entries: Iterable[Entry], form: Format) -> tuple[list[Row], list[JsonDict]]:
    rows, rejected = [], []
    for entry in entries:
        try:
            if entry.record is None:
                rejected.append({"_raw": entry.raw, "_reasons": [Finding(UNREADABLE, "unreadable", entry.why).as_dict()]})
            else:
                rows.append(Row(entry.record, conversation(dict(entry.record), form, entry.where, entry.where), entry.file))
        except InputError as error:
            reason = Finding(UNREADABLE, "unreadable", reason_of(error))
            rejected.append(with_reasons(entry.record or {}, [reason.as_dict()]))
    return rows, rejected


def readable_as(entry: Entry, form: Format) -> str:
    """Why it can't be read; nothing if it can."""
    if entry.record is None:
        return entry.why
    try:
        conversation(dict(entry.record), form, entry.where, entry.where)
    except InputError as error:
        return reason_of(error)
    return ""


def with_reasons(record: JsonDict, reasons: Sequence[object]) -> JsonDict:
    """A row that was rejected before keeps what was said of it then."""
    before = {"_reasons_before": record["_reasons"]} if "_reasons" in record else {}
    return {**record, **before, "_reasons": reasons}


def as_line(value: object) -> bytes:
    """Half characters, which JSON can spell and files can't hold, are spelled again."""
    return (json.dumps(value, ensure_ascii=False, default=str) + "\n").encode("utf-8", "backslashreplace")
