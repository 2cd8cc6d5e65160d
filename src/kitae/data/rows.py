"""The rows of a recipe: read, without duplicates, split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kitae.chat import Conversation
from kitae.data.readers import Format, read_conversations
from kitae.data.split import hold_back, without_duplicates
from kitae.files import read_json, staged_folder, write_json, write_jsonl

_SOURCE = "_source"
_COUNTS = "counts.json"


class SourceLike(Protocol):
    """A source as the recipe describes it; data/ does not know the recipe."""

    @property
    def path(self) -> str: ...
    @property
    def format(self) -> Format: ...
    @property
    def limit(self) -> int | None: ...


@dataclass(frozen=True)
class Rows:
    train: list[Conversation]
    validation: list[Conversation]
    test: list[Conversation]
    duplicates: int  # rows that were in the training files twice

    PARTS = ("train", "validation", "test")

    @staticmethod
    def gather(
        train: Sequence[SourceLike],
        validation: float | Sequence[SourceLike],
        test: Sequence[SourceLike],
        seed: int,
    ) -> Rows:
        every = _read(train)
        training = without_duplicates(every)
        duplicates = len(every) - len(training)
        if isinstance(validation, float):
            training, held_back = hold_back(training, validation, seed)
        else:
            held_back = _read(validation)
        return Rows(training, held_back, _read(test), duplicates)

    def save(self, folder: Path) -> None:
        with staged_folder(folder) as stage:
            for part in self.PARTS:
                rows: list[Conversation] = getattr(self, part)
                write_jsonl(
                    stage / f"{part}.jsonl",
                    ({**_content(row), _SOURCE: row.source} for row in rows),
                )
            write_json(stage / _COUNTS, {"duplicates": self.duplicates})

    @staticmethod
    def load(folder: Path) -> Rows:
        def part(name: str) -> list[Conversation]:
            path = folder / f"{name}.jsonl"
            return read_conversations(path, source_key=_SOURCE) if path.exists() and path.stat().st_size else []

        counts = read_json(folder / _COUNTS)
        return Rows(part("train"), part("validation"), part("test"), counts["duplicates"])


def _content(row: Conversation) -> dict[str, object]:
    if row.is_text:
        return {"text": row.messages[0].content}
    if row.rejected is None:
        return {"messages": [m.as_dict() for m in row.messages]}
    return {"messages": [m.as_dict() for m in row.prompt], "chosen": row.answer, "rejected": row.rejected}


def _read(sources: Sequence[SourceLike]) -> list[Conversation]:
    return [row for source in sources for row in read_conversations(Path(source.path), source.format, source.limit)]
