"""The rows of a recipe: read, without duplicates, split."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from kitae.chat import Conversation
from kitae.core.console import watched
from kitae.core.errors import InputError
from kitae.core.files import JsonDict, read_json, read_text, staged_folder, write_json, write_jsonl
from kitae.core.i18n import t
from kitae.core.row_options import Action, Format, RowGate
from kitae.data.clean.leaks import read_evaluations
from kitae.data.clean.survey import ACTIONS, Rules, tidied
from kitae.data.read.entries import REJECTED
from kitae.data.read.readers import read_conversations
from kitae.data.same import Groups, dealt, draw, ties, without_duplicates

_SOURCE = "_source"
_COUNTS = "counts.json"
UNREADABLE = "unreadable.jsonl"


class SourceLike(Protocol):
    """A source as the recipe describes it; data/ does not know the recipe."""

    @property
    def path(self) -> str: ...
    @property
    def format(self) -> Format: ...
    @property
    def limit(self) -> int | None: ...
    @property
    def sample(self) -> int | None: ...
    @property
    def weight(self) -> float: ...


class CleanLike(Protocol):
    @property
    def rules(self) -> Mapping[RowGate, Action]: ...
    @property
    def languages(self) -> Sequence[str]: ...
    @property
    def near(self) -> float: ...


class DataLike(Protocol):
    """What a recipe says of the examination of rows."""

    @property
    def train(self) -> Sequence[SourceLike]: ...
    @property
    def clean(self) -> CleanLike | None: ...
    @property
    def evaluations(self) -> Sequence[str]: ...


def wanted_rules(data: DataLike) -> Rules:
    forms = {source.format for source in data.train}
    evaluations = read_evaluations([Path(path) for path in data.evaluations], sorted(forms))
    if data.clean is None:
        return Rules(evaluations=evaluations)
    return Rules(
        {**ACTIONS, **{str(gate): action for gate, action in data.clean.rules.items()}},
        tuple(data.clean.languages),
        data.clean.near,
        evaluations,
    )


@dataclass(frozen=True)
class Rows:
    train: list[Conversation]
    validation: list[Conversation]
    test: list[Conversation]
    duplicates: int  # rows that were in the training files twice
    unreadable: list[JsonDict] = field(default_factory=list)  # where rows were that were left out, and why
    rejected: list[JsonDict] = field(default_factory=list)  # training rows that cleaning left out, with their reasons

    PARTS = ("train", "validation", "test")

    @staticmethod
    def gather(
        train: Sequence[SourceLike],
        validation: float | Sequence[SourceLike],
        test: Sequence[SourceLike],
        seed: int,
        drop: bool = False,
        clean: Rules | None = None,
        choose: Callable[[list[Conversation]], list[Conversation]] = lambda rows: rows,
    ) -> Rows:
        """`drop`: what can't be read is left out, and named. `clean`: so is what these rules find in training rows. `choose`:
        which of those that are left are learned."""
        unreadable: list[JsonDict] = []
        weights: dict[str, float] = {}

        def reject(error: InputError) -> None:
            unreadable.append({"where": error.where, "what": error.message, "why": error.why})

        def read(sources: Sequence[SourceLike]) -> list[Conversation]:
            one = partial(read_conversations, reject=reject if drop else None)
            found = []
            for source in sources:
                rows = _sampled(one(Path(source.path), source.format, source.limit), source.sample, seed)
                weights.update((row.source, source.weight) for row in rows if source.weight != 1)
                found += rows
            return found

        every = read(train)
        training = without_duplicates(every)
        duplicates = len(every) - len(training)
        rejected: list[JsonDict] = []
        if clean is not None:  # before the split, so that no copy of a validation row stays among the others
            training, left_out = watched(t("data.looking"), partial(tidied, training, clean, content))
            rejected = [
                {**content(row), _SOURCE: row.source, "_reasons": [f.as_dict() for f in found]} for row, found in left_out
            ]
        if isinstance(validation, float):
            training, held_back = hold_back(training, validation, seed)
        else:
            held_back = read(validation)
        training = choose(training) if training else training
        training = [row for row in training for _ in range(_times(row, weights.get(row.source, 1.0), seed))]
        return Rows(training, held_back, read(test), duplicates, unreadable, rejected)

    def save(self, folder: Path) -> None:
        with staged_folder(folder) as stage:
            for part in self.PARTS:
                rows: list[Conversation] = getattr(self, part)
                write_jsonl(
                    stage / f"{part}.jsonl",
                    ({**content(row), _SOURCE: row.source} for row in rows),
                )
            write_json(stage / _COUNTS, {"duplicates": self.duplicates})
            if self.unreadable:
                write_jsonl(stage / UNREADABLE, self.unreadable)
            if self.rejected:
                write_jsonl(stage / REJECTED, self.rejected)

    @staticmethod
    def load(folder: Path) -> Rows:
        def part(name: str) -> list[Conversation]:
            path = folder / f"{name}.jsonl"
            return read_conversations(path, source_key=_SOURCE) if path.exists() and path.stat().st_size else []

        counts = read_json(folder / _COUNTS)

        def told(name: str) -> list[JsonDict]:
            path = folder / name
            return [json.loads(line) for line in read_text(path).split("\n") if line] if path.exists() else []

        parts = part("train"), part("validation"), part("test")
        return Rows(*parts, counts["duplicates"], told(UNREADABLE), told(REJECTED))


def _sampled(rows: list[Conversation], count: int | None, seed: int) -> list[Conversation]:
    if count is None or count >= len(rows):
        return rows
    chosen = sorted(range(len(rows)), key=lambda i: (draw(rows[i], seed, "sample"), i))[:count]
    return [rows[i] for i in sorted(chosen)]


def hold_back(rows: list[Conversation], fraction: float, seed: int) -> tuple[list[Conversation], list[Conversation]]:
    """(training, validation). What `kitae data split` keeps together stays together."""
    parts = dealt(rows, Groups(ties(rows)), {"validation": fraction}, "train", seed)
    return [rows[i] for i in parts["train"]], [rows[i] for i in parts["validation"]]


def _times(row: Conversation, weight: float, seed: int) -> int:
    return int(weight) + (draw(row, seed, "weight") < weight - int(weight))


def content(row: Conversation) -> dict[str, object]:
    if row.is_text:
        return {"text": row.messages[0].content}
    if row.rejected is None:
        return {"messages": [{**m.as_dict(), **({} if m.learned else {"weight": 0})} for m in row.messages]}
    return {"messages": [m.as_dict() for m in row.prompt], "chosen": row.answer, "rejected": row.rejected}
