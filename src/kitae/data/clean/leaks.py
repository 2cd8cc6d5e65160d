"""`data.leak`: rows that hold what a model will be examined on.

An item of an evaluation set is found by runs of tokens: eight words, or thirteen characters where words have no spaces. What
many items have in common is no evidence, nor are a run or two: a good part of the item must be there, and is shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from kitae.chat import Conversation
from kitae.core.errors import BadRow, InputError
from kitae.core.row_options import Format
from kitae.data.read.finding import Finding
from kitae.data.read.places import files_of
from kitae.data.read.readers import each_found
from kitae.data.read.shapes import Record, conversation
from kitae.data.same import Hashes, grams, hashed, tokens

GATE = "data.leak"
_WORDS, _CHARACTERS = 8, 13
_PART = 0.4  # of an item's runs
_SHORTEST = 5  # tokens of an item that is found by what it asks; a shorter one only together with its answer
_WHOLE = 400  # characters of a question that is looked for as a whole
_ASKED = ("question", "prompt", "instruction", "problem", "input_text", "turns", "Question", "input")
_COMMON = 5  # items that may share a run before it says nothing


class Evaluations:
    def __init__(self, rows: Iterable[Conversation]) -> None:
        self._sources: list[str] = []
        self._whole: dict[tuple[str, ...], str] = {}
        self._short: dict[tuple[tuple[str, ...], tuple[str, ...]], str] = {}  # with the answer
        found: dict[int, list[Hashes]] = {_WORDS: [], _CHARACTERS: []}
        owners: dict[int, list[np.ndarray[tuple[int], np.dtype[np.int64]]]] = {_WORDS: [], _CHARACTERS: []}
        seen: set[tuple[str, ...]] = set()
        for row in rows:
            asked = _examined(row)
            said = tokens(asked)
            if len(said) < _SHORTEST and row.answer:
                self._short[tuple(said), tuple(tokens(row.answer))] = row.source
            elif len(said) >= _SHORTEST and len(asked) < _WHOLE:
                self._whole.setdefault(tuple(said), row.source)
            if tuple(said) in seen:  # what stands there several times would seem to be what all items share
                continue
            seen.add(tuple(said))
            size = _size(said)
            runs = np.unique(grams(hashed(said), size))
            if len(runs):
                owners[size].append(np.full(len(runs), len(self._sources), dtype=np.int64))
                found[size].append(runs)
                self._sources.append(row.source)
        self._runs = {size: _sorted(found[size], owners[size]) for size in found}
        telling = np.concatenate([who for _, who in self._runs.values()])
        self._sizes: list[int] = np.bincount(telling, minlength=len(self._sources)).tolist()

    def __bool__(self) -> bool:
        return bool(self._sources or self._whole or self._short)

    def find(self, row: Conversation) -> Finding | None:
        for text in [m.content for m in row.messages if m.role not in ("assistant", "system")]:
            asked = tuple(tokens(text)) if len(text) < _WHOLE else ()
            source = self._whole.get(asked)
            if source is None and len(asked) < _SHORTEST and row.answer:
                source = self._short.get((asked, tuple(tokens(row.answer))))
            if source is not None:
                return Finding(GATE, "evaluation", f"{source}: {text.strip()[:100]}")
        said = tokens("\n".join(m.content for m in row.messages if m.role != "system"))
        hashes = hashed(said)
        found = (self._in(said, grams(hashes, size), size) for size in self._runs)  # a row may hold items of another language
        return next((finding for finding in found if finding is not None), None)

    def _in(self, said: Sequence[str], mine: Hashes, size: int) -> Finding | None:
        runs, owners = self._runs[size]
        if not len(runs) or not len(mine):
            return None
        left = np.searchsorted(runs, mine, "left")
        right = np.searchsorted(runs, mine, "right")
        hits = np.flatnonzero(right > left)
        if not len(hits):
            return None
        return self._proven(said, size, hits.tolist(), left, right, mine, owners)

    def _proven(
        self,
        said: Sequence[str],
        size: int,
        hits: list[int],
        left: np.ndarray[tuple[int], np.dtype[np.intp]],
        right: np.ndarray[tuple[int], np.dtype[np.intp]],
        mine: Hashes,
        owners: np.ndarray[tuple[int], np.dtype[np.int64]],
    ) -> Finding | None:
        counts: Counter[int] = Counter()
        where: dict[int, int] = {}
        seen: set[int] = set()
        for hit in hits:
            if int(mine[hit]) in seen:
                continue
            seen.add(int(mine[hit]))
            for owner in owners[left[hit] : right[hit]].tolist():
                counts[owner] += 1
                where.setdefault(owner, hit)
        owner, count = max(counts.items(), key=lambda item: (item[1] / self._sizes[item[0]], -item[0]))
        if count < _PART * self._sizes[owner]:
            return None
        start = where[owner]
        end = min(len(said), start + size + 12)
        text = ("" if size == _CHARACTERS else " ").join(said[start:end])
        return Finding(GATE, "evaluation", f"{self._sources[owner]} ({count / self._sizes[owner]:.0%}): {text}")


def read_evaluations(paths: Sequence[Path], forms: Iterable[Format] = ()) -> Evaluations | None:
    """Of files, all of whose rows must be read: nobody finds what was left out. `forms`: of the rows that are examined, which
    those of an evaluation may share."""
    return Evaluations(_items(paths, ["auto", *forms])) if paths else None


def _items(paths: Sequence[Path], forms: Sequence[Format]) -> Iterator[Conversation]:
    for path in paths:
        count = 0
        for file in files_of(path):
            for where, record in each_found(file, "auto"):
                if isinstance(record, InputError):
                    raise record
                yield _item(record, where, forms)
                count += 1
        if not count:
            raise InputError("data-empty", where=str(path))


def _item(record: Record, where: str, forms: Sequence[Format]) -> Conversation:
    record = {name: value for name, value in record.items() if name != "label"}  # which says what is right, not what is taught
    for form in forms:
        try:
            return conversation(record, form, where, where)
        except BadRow as error:
            unread = error
    asked = _asked(record)
    if not asked:
        raise unread
    return Conversation.of_text(asked, where)


def _asked(record: Record) -> str:
    """What an item asks that nobody could learn from: it has several answers to choose from, or none."""
    given = next((record[name] for name in _ASKED if record.get(name)), None)
    turns = given if isinstance(given, list) else [given]
    return "\n".join(turn for turn in turns if isinstance(turn, str)).strip()


def _examined(row: Conversation) -> str:
    """What an item asks; its answer may be anywhere."""
    return "\n".join(m.content for m in row.prompt if m.role != "system") or row.messages[0].content


def _size(said: Sequence[str]) -> int:
    return _CHARACTERS if sum(len(token) == 1 for token in said[:64]) * 2 > min(len(said), 64) else _WORDS


def _sorted(
    found: list[Hashes], owners: list[np.ndarray[tuple[int], np.dtype[np.int64]]]
) -> tuple[Hashes, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    if not found:
        return np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.int64)
    runs, who = np.concatenate(found), np.concatenate(owners)
    order = np.argsort(runs, kind="stable")
    runs, who = runs[order], who[order]
    _, inverse, counts = np.unique(runs, return_inverse=True, return_counts=True)
    telling = counts[inverse] <= max(_COMMON, len(found) // 100)
    return runs[telling], who[telling]
