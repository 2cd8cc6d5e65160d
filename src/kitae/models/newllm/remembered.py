"""Contexts on disk, so that an experiment that is repeated begins where the one before it ended.

What is remembered is only ever a guess: the solver refines it like any other, so a wrong, old or damaged file costs time and
changes nothing beyond the tolerance. Where nothing more can be written, nothing more is kept. Files are named by weights,
configuration and tokens; `index.json` says of each what it belongs to and when it was used last, and is made anew from the
files when it is lost.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from kitae.core.console import console
from kitae.core.errors import KitaeError
from kitae.core.files import JsonDict, creating, read_json, staged_file, write_json
from kitae.core.i18n import t

_INDEX = "index.json"
_OFTEN = 256  # files between two times that the index is written


class RememberedContexts:
    def __init__(self, folder: Path, owner: str, architecture: str, limit_mb: int) -> None:
        """`owner`: a hash of everything that the contexts of given tokens depend on."""
        self._folder = folder
        self._owner = owner
        self._architecture = architecture
        self._limit = limit_mb * 10**6
        self._writes = True
        self._index: dict[str, JsonDict] = {}
        with self._explained(), creating(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._index = self._read_index()
        self._clock = max((int(entry["used"]) for entry in self._index.values()), default=0)
        self._unwritten = 0
        self.hits = self.misses = 0

    def guesses(self, ids: torch.Tensor, widths: Sequence[int]) -> list[torch.Tensor] | None:
        """Contexts of each block, [batch, time, width]; zero where nothing is known, None if nothing is."""
        found = [self._load(_stripped(row), widths) for row in ids.tolist()]
        known = sum(one is not None for one in found)
        self.hits += known
        self.misses += len(found) - known
        if not known:
            return None
        guesses = [torch.zeros(*ids.shape, width, device=ids.device) for width in widths]
        for row, blocks in enumerate(found):
            for guess, block in zip(guesses, blocks or (), strict=False):
                guess[row, : len(block)] = block
        return guesses

    def keep(self, ids: torch.Tensor, contexts: Sequence[torch.Tensor]) -> None:
        if self._writes:
            with self._explained():
                self._keep(ids, contexts)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except KitaeError as error:
            self._writes = False
            console.say(t("say.contexts-not-kept", why=error.message))

    def _keep(self, ids: torch.Tensor, contexts: Sequence[torch.Tensor]) -> None:
        for row, tokens in enumerate(ids.tolist()):
            tokens = _stripped(tokens)
            key = self._key(tokens)
            if key in self._index or not tokens:
                continue
            file = self._folder / f"{key}.safetensors"
            # As exact as they were found, so that one pass can show that they are right; half as exact takes three.
            own = [block[row, : len(tokens)].to("cpu", torch.float32, copy=True).contiguous() for block in contexts]
            with staged_file(file) as stage:
                save_file({str(i): block for i, block in enumerate(own)}, stage)
                size = stage.stat().st_size
            self._note(key, file, tokens, size)
        if self._unwritten >= _OFTEN:
            self.write_index()

    def write_index(self) -> None:
        """Forgets what was used longest ago, as far as there is too much."""
        total = sum(int(entry["bytes"]) for entry in self._index.values())
        for key in sorted(self._index, key=lambda key: int(self._index[key]["used"])):
            if total <= self._limit:
                break
            total -= int(self._index[key]["bytes"])
            self._forget(key)
        self._unwritten = 0
        if not self._writes:
            return
        with self._explained():
            write_json(self._folder / _INDEX, self._index)

    def _load(self, tokens: list[int], widths: Sequence[int]) -> list[torch.Tensor] | None:
        key = self._key(tokens)
        if key not in self._index:
            return None
        try:
            with safe_open(self._folder / f"{key}.safetensors", framework="pt") as file:
                blocks: list[torch.Tensor] = [file.get_tensor(str(i)) for i in range(len(widths))]
        except (SafetensorError, OSError, ValueError):
            blocks = []
        fits = [tuple(block.shape) for block in blocks] == [(len(tokens), width) for width in widths]
        if not fits or not all(bool(block.isfinite().all()) for block in blocks):
            self._forget(key)
            return None
        self._clock += 1
        self._unwritten += 1
        self._index[key]["used"] = self._clock
        return blocks

    def _key(self, tokens: Sequence[int]) -> str:
        return hashlib.sha256(f"{self._owner}{list(tokens)}".encode()).hexdigest()

    def _note(self, key: str, file: Path, tokens: Sequence[int], size: int) -> None:
        self._clock += 1
        self._unwritten += 1
        self._index[key] = {
            "file": file.name,
            "sample": hashlib.sha256(json.dumps(list(tokens)).encode()).hexdigest(),
            "architecture": self._architecture,
            "bytes": size,
            "used": self._clock,
        }

    def _forget(self, key: str) -> None:
        self._index.pop(key, None)
        (self._folder / f"{key}.safetensors").unlink(missing_ok=True)

    def _read_index(self) -> dict[str, JsonDict]:
        """Only what is there; files that it doesn't name count as used before all others."""
        index: JsonDict = {}
        with contextlib.suppress(KitaeError):
            index = read_json(self._folder / _INDEX) if (self._folder / _INDEX).exists() else {}
        there = {file.stem: file for file in self._folder.glob("*.safetensors")}
        known = {key: entry for key, entry in index.items() if key in there and _is_entry(entry)}
        for key in there.keys() - known.keys():
            with contextlib.suppress(FileNotFoundError):  # another process forgot it just now
                size = there[key].stat().st_size
                known[key] = {"file": there[key].name, "sample": "", "architecture": "", "bytes": size, "used": 0}
        return known


def _is_entry(entry: object) -> bool:
    return isinstance(entry, dict) and all(isinstance(entry.get(name), int) for name in ("bytes", "used"))


def _stripped(tokens: list[int]) -> list[int]:
    """Without the zeros that fill up a row. A row that really ends so is refined where it does."""
    end = len(tokens)
    while end and tokens[end - 1] == 0:
        end -= 1
    return tokens[:end]
