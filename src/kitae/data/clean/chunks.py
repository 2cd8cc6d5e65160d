"""Rows of files, looked at in chunks by several processes. Each chunk lies in files of its own until all is decided."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import chain, groupby, islice
from multiprocessing.synchronize import Event as EventType
from pathlib import Path
from typing import IO, Any

import numpy as np

from kitae.chat import Conversation
from kitae.core.errors import InputError, KitaeError, first_line
from kitae.core.files import JsonDict, staged_file
from kitae.core.row_options import Format
from kitae.data.clean.rules.endings import Ends, OpenEnd
from kitae.data.clean.rules.leftovers import Labels
from kitae.data.clean.survey import CountTexts, CountTokens, Look, Rules, Survey, look
from kitae.data.read.entries import UNREADABLE, Entry, as_line, reason_of
from kitae.data.read.finding import Finding
from kitae.data.read.shapes import conversation
from kitae.data.same import Parts

_ROWS = 1000  # of a chunk
_WAITING = 2  # chunks for each process


class Chunks:
    def __init__(self, folder: Path, rules: Rules, form: Format, count: CountTexts | None = None) -> None:
        self._folder = folder
        self._form = form
        self._look = Looking(folder, rules, form, count)
        self._places: list[tuple[int, _Places]] = []  # of each chunk: its first row, and where its rows come from
        self._files: list[list[tuple[str, int]]] = []  # of each chunk: its files, and how many of its rows are of each
        self._offsets: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = []
        self.count = 0

    def run(self, entries: Iterator[Entry]) -> Iterator[Survey]:
        self._folder.mkdir(parents=True, exist_ok=True)
        chunks = iter(lambda: list(islice(entries, _ROWS)), [])
        numbered = enumerate(chunks)
        for number in _worked(numbered, self._look):
            survey, places, files, offsets = _load(self._folder, number)
            self._files.append(files)
            self._places.append((self.count, _Places.of(places)))
            self._offsets.append(offsets)
            self.count += survey.count
            yield survey

    def where(self, row: int) -> str:
        number = row // _ROWS
        return self._places[number][1][row - self._places[number][0]]

    def each_file(self) -> Iterator[str]:
        for files in self._files:
            for file, rows in files:
                yield from [file] * rows

    def each(self) -> Iterator[tuple[bytes, JsonDict | None]]:
        """The line of each row, and what was said of it if anything was."""
        for number in range(len(self._places)):
            with _rows_file(self._folder, number).open("rb") as file:
                while line := file.readline():
                    meta = file.readline()
                    yield line, json.loads(meta) if meta.strip() else None

    def parts_of(self, row: int) -> Parts:
        number = row // _ROWS
        file = _opened(_rows_file(self._folder, number))
        file.seek(int(self._offsets[number][row - self._places[number][0]]))
        return Parts.of(conversation(json.loads(file.readline()), self._form, "", ""))


@dataclass(frozen=True)
class _Places:
    """Names of rows of one file, mostly, without what all begin with: a million of them are held."""

    head: str
    tails: str

    @staticmethod
    def of(places: Sequence[str]) -> _Places:
        head = os.path.commonprefix(places)  # noqa: RUF071 - also a part of a name saves room
        return _Places(head, "\0".join(place[len(head) :] for place in places))

    def __getitem__(self, number: int) -> str:
        return self.head + self.tails.split("\0", number + 1)[number]


@lru_cache(maxsize=64)
def _opened(path: Path) -> IO[bytes]:
    return path.open("rb")


def _rows_file(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.jsonl"


@dataclass(frozen=True)
class Looking:
    """All that a process needs for its chunks."""

    folder: Path
    rules: Rules
    form: Format
    count: CountTexts | None  # the tokens of texts


def _worked(chunks: Iterator[tuple[int, list[Entry]]], looking: Looking) -> Iterator[int]:
    """The numbers of chunks that are done, in order. Those that lie there already are not looked at again."""
    first = list(islice(chunks, 2))
    processes = _processes() if len(first) > 1 else 1
    if processes == 1:
        for number, entries in chain(first, chunks):
            _work(number, entries, looking)
            yield number
        return
    context = multiprocessing.get_context("fork")
    stopped = context.Event()
    pool = ProcessPoolExecutor(processes, context, _begin, (os.getpid(), looking, stopped))
    waiting: deque[Future[int]] = deque()
    try:
        for number, entries in chain(first, chunks):
            waiting.append(pool.submit(_work, number, entries))
            if len(waiting) > _WAITING * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise KitaeError("helper-died", why=first_line(error)) from error
    finally:
        stopped.set()  # all is done, or what is under way is not waited for
        pool.shutdown(wait=True, cancel_futures=True)


def _processes() -> int:
    """A fork of a process with threads of its own may hang, and a fresh process would import the user's script."""
    if "fork" not in multiprocessing.get_all_start_methods() or "torch" in sys.modules:
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_looking: Looking | None = None  # of a process that helps: too large to be sent with each chunk
_stopped: EventType | None = None


class _Stopped(Exception):
    """Nobody waits for this chunk any more."""


def _begin(parent: int, looking: Looking, stopped: EventType) -> None:
    """Ctrl-C is for the process that leads; whoever kills that one ends the others too."""
    global _looking, _stopped
    _looking, _stopped = looking, stopped
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _work(number: int, entries: list[Entry], looking: Looking | None = None) -> int:
    looking = looking or _looking
    assert looking is not None
    folder = looking.folder
    done = folder / f"{number:06d}.json"
    if done.exists():
        return number
    looks: list[Look | None] = []
    offsets: list[int] = []
    with staged_file(_rows_file(folder, number)) as stage, stage.open("wb") as file:
        for entry in entries:
            if _stopped is not None and _stopped.is_set():
                raise _Stopped
            seen, line, meta = _look(entry, looking.rules, looking.form)
            looks.append(seen)
            offsets.append(file.tell())
            file.write(as_line(line) + (as_line(meta) if meta else b"\n"))
    counter = _counter(looking.count) if looking.count else None
    _save(folder, number, Survey.of(looks, looking.rules.of_rows, counter), entries, offsets)
    return number


def _look(entry: Entry, rules: Rules, form: Format) -> tuple[Look | None, object, JsonDict | None]:
    if entry.record is None:
        return None, {"_raw": entry.raw}, _meta(entry, [Finding(UNREADABLE, "unreadable", entry.why)])
    try:
        row = conversation(dict(entry.record), form, entry.where, entry.where)
        seen = look(row, rules, entry.record, form)
    except InputError as error:
        return None, entry.record, _meta(entry, [Finding(UNREADABLE, "unreadable", reason_of(error))])
    except RecursionError:
        return None, entry.record, _meta(entry, [Finding(UNREADABLE, "unreadable", "too deep")])
    if not (seen.against or seen.noticed or seen.repairs):
        return seen, entry.record, None
    meta = _meta(entry, seen.against, seen.noticed, seen.repairs)
    if seen.repaired is not None:
        meta["before"] = entry.record
    return seen, seen.repaired or entry.record, meta


def _meta(entry: Entry, against: list[Finding], noticed: Sequence[Finding] = (), repairs: Sequence[Finding] = ()) -> JsonDict:
    def plain(found: Sequence[Finding]) -> list[list[str]]:
        return [[finding.gate, finding.kind, finding.evidence, finding.habit] for finding in found]

    return {"where": entry.where, "against": plain(against), "noticed": plain(noticed), "repairs": plain(repairs)}


def _counter(count_texts: CountTexts) -> CountTokens:
    """Tokens of what is said, without those that a chat template puts around it."""

    def count(rows: Sequence[Conversation | None]) -> list[tuple[int, int]]:
        texts = [
            (i, (m.role == "assistant" and m.learned) or row.is_text, m.content)
            for i, row in enumerate(rows)
            if row
            for m in row.messages
        ]
        found = count_texts([text for _, _, text in texts])
        counts = [(0, 0)] * len(rows)
        for (i, learned, _), size in zip(texts, found, strict=True):
            counts[i] = counts[i][0] + size, counts[i][1] + size * learned
        return counts

    return count


_ARRAYS = ("state", "wholes", "bands", "untidiness", "turns", "asked", "answered")
_COUNTED = ("tokens", "learned")


def _save(folder: Path, number: int, survey: Survey, entries: list[Entry], offsets: list[int]) -> None:
    with staged_file(folder / f"{number:06d}.npz") as stage, stage.open("wb") as file:
        arrays: dict[str, Any] = {name: getattr(survey, name)[0] for name in (*_ARRAYS, *_COUNTED) if getattr(survey, name)}
        np.savez(file, offsets=np.array(offsets, dtype=np.int64), **arrays)
    told = {
        "count": survey.count,
        "unreadable": survey.unreadable,
        "places": [entry.where for entry in entries],
        "files": [(file, sum(1 for _ in found)) for file, found in groupby(entry.file for entry in entries)],
        "habits": survey.habits,
        "open_ends": {row: asdict(end) for row, end in survey.open_ends.items()},
        "ends": vars(survey.ends),
        "labels": survey.labels.pruned().plain(),
        "languages": survey.languages,
        "unread": survey.unread,
    }
    with staged_file(folder / f"{number:06d}.json") as stage:  # last: a chunk that has it is done
        stage.write_text(json.dumps(told, ensure_ascii=False), encoding="utf-8", errors="backslashreplace")


def _load(
    folder: Path, number: int
) -> tuple[Survey, list[str], list[tuple[str, int]], np.ndarray[tuple[int], np.dtype[np.int64]]]:
    with np.load(folder / f"{number:06d}.npz", allow_pickle=False) as arrays:
        found = {name: [arrays[name]] for name in (*_ARRAYS, *_COUNTED) if name in arrays}
        offsets = arrays["offsets"]
    told = json.loads((folder / f"{number:06d}.json").read_text(encoding="utf-8"))
    survey = Survey(
        **found,
        habits={int(row): names for row, names in told["habits"].items()},
        open_ends={int(row): OpenEnd(**end) for row, end in told["open_ends"].items()},
        ends=_ends_of(told["ends"]),
        labels=Labels.of_plain(told["labels"]),
        languages=Counter(told["languages"]),
        unread=Counter(told["unread"]),
        count=told["count"],
        unreadable=told["unreadable"],
    )
    return survey, told["places"], told["files"], offsets


def _ends_of(told: JsonDict) -> Ends:
    seen, ending, pairs, pairs_ending = (Counter[str](told[name]) for name in ("seen", "ending", "pairs", "pairs_ending"))
    return Ends(seen, ending, pairs, pairs_ending, told["long"], told["answers"])
