"""Rows as a model reads them. What was read lies in the cache, for work that goes on and for another choice."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import numpy as np

from kitae import __version__
from kitae.chat import ChatCodec, Conversation
from kitae.core import paths
from kitae.core.console import Progress, console
from kitae.core.errors import InputError
from kitae.core.files import hash_text, staged_file
from kitae.core.hardware import computes_in_bf16, has_gpu
from kitae.core.i18n import t
from kitae.data import read_conversations
from kitae.models import Target, open_codec

if TYPE_CHECKING:
    from kitae.evaluate.features import EncodedRow, FeatureReader, Floats, RowFeatures

_AT_ONCE = 64  # rows that killed work may read again
_LONGEST = 8192  # tokens of a row that is read: the logits of more would need gigabytes
_LONG = 600  # seconds of reading before which a sample is recommended


@dataclass(frozen=True)
class FeatureModel:
    """What a model makes of rows, read part by part and kept in the cache."""

    target: Target  # a folder: only weights that torch runs can be read

    @cached_property
    def codec(self) -> ChatCodec:
        return open_codec(self.target.folder, self.target.template)

    def encode(self, rows: Sequence[Conversation]) -> list[EncodedRow]:
        from kitae.evaluate.features import EncodedRow

        progress = Progress(t("select.encoding"), len(rows))
        encoded = []
        try:
            for number, row in enumerate(rows, 1):
                encoded.append(EncodedRow.of(self.codec.encode_answer(row)))
                progress.update(number)
        finally:
            progress.close()
        return encoded

    @cached_property
    def longest(self) -> int:
        from kitae.models import folder_facts

        return min(folder_facts(self.target.folder, self.codec).context or 2048, _LONGEST)

    def read(self, rows: Sequence[EncodedRow], difficulty: bool, vectors: bool) -> RowFeatures:
        """In parts of rows of like length. The first is one of the middle, from which the time for all is told."""
        from kitae.evaluate.features import RowFeatures

        wanted = [name for name, given in (("difficulty", difficulty), ("vectors", vectors)) if given]
        folders = {name: paths.cache_dir() / "readings" / self._key(rows, name) for name in wanted}
        order = sorted(range(len(rows)), key=lambda i: (len(rows[i].ids), i))
        parts = list(enumerate(order[start : start + _AT_ONCE] for start in range(0, len(order), _AT_ONCE)))
        middle = len(parts) // 2
        found: dict[str, dict[int, Floats]] = {name: {} for name in wanted}
        work = _Work(sum(len(row.ids) for row in rows), len(rows))
        try:
            for number, part in (*parts[middle : middle + 1], *parts[:middle], *parts[middle + 1 :]):
                some = [rows[i] for i in part]
                files = {name: folder / f"{number:06d}.npy" for name, folder in folders.items()}
                known = {name: _kept(file, len(part)) for name, file in files.items()}
                missing = {name: files[name] for name, values in known.items() if values is None}
                if missing:
                    reader = self._reader
                    work.begin()
                    known |= _read(reader, some, missing)
                work.done(sum(len(row.ids) for row in some), known=not missing)
                for name, values in known.items():
                    assert values is not None
                    found[name] |= zip(part, values, strict=True)
        finally:
            work.close()
        told = {name: np.array([values[i] for i in range(len(rows))], np.float32) for name, values in found.items()}
        return RowFeatures(told.get("difficulty"), told.get("vectors"))

    def vectors_of(self, files: Sequence[Path]) -> Floats:
        rows = [row for file in files for row in read_conversations(file)]
        encoded = [row for row in self.encode(rows) if 0 < len(row.ids) <= self.longest]
        if not encoded:
            raise InputError("data-empty", where=", ".join(map(str, files)))
        vectors = self.read(encoded, difficulty=False, vectors=True).vectors
        assert vectors is not None
        return vectors

    @cached_property
    def _reader(self) -> FeatureReader:
        from kitae.evaluate.features import FeatureReader
        from kitae.generate import TorchEngine, open_engine

        engine = open_engine(self.target)
        assert isinstance(engine, TorchEngine)  # GGUF files were made folders of
        return FeatureReader(engine)

    def _key(self, rows: Sequence[EncodedRow], name: str) -> str:
        """Of all that decides what is read."""
        digest = hashlib.sha256()
        for row in rows:
            digest.update(row.ids.tobytes() + f"{row.start} {row.end} {row.asked};".encode())
        how = f"{computes_in_bf16('auto')} {has_gpu()} {_AT_ONCE}"
        return hash_text(__version__, *self.target.fingerprint(), digest.hexdigest(), name, how)


def _read(reader: FeatureReader, rows: Sequence[EncodedRow], files: Mapping[str, Path]) -> dict[str, Floats]:
    found = reader.read(rows, "difficulty" in files, "vectors" in files)
    values: dict[str, Floats] = {name: getattr(found, name) for name in files}
    for name, file in files.items():
        with staged_file(file) as stage, stage.open("wb") as opened:
            np.save(opened, values[name])
    return values


def _kept(file: Path, rows: int) -> Floats | None:
    """What was read before; what a full disk or a broken one made of it is not."""
    try:
        values: Floats = np.load(file)
    except (OSError, ValueError, EOFError):
        return None
    return values if len(values) == rows else None


class _Work:
    """How far it is; and after the first part, how long all will take."""

    def __init__(self, tokens: int, rows: int) -> None:
        self._tokens, self._rows = tokens, rows
        self._done = 0
        self._told = False
        self._before = monotonic()
        self._progress = Progress(t("select.reading"), tokens)

    def begin(self) -> None:
        """The model is open now; that took its own time."""
        self._before = monotonic()

    def done(self, tokens: int, known: bool) -> None:
        now = monotonic()
        self._done += tokens
        if not known and not self._told:
            self._told = True
            seconds = (now - self._before) / tokens * (self._tokens - self._done)
            if seconds >= _LONG:
                console.say(t("select.long", minutes=round(seconds / 60), rows=self._rows))
        self._before = now
        self._progress.update(self._done, t("select.tokens"))

    def close(self) -> None:
        self._progress.close()
