"""A GGUF file as an engine: many sequences in one llama.cpp batch."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from kitae.chat import ChatCodec, ChatTemplate, template_text
from kitae.core.errors import InputError, KitaeError
from kitae.core.hardware import free_memory
from kitae.generate.prefix import common_prefix
from kitae.generate.sampling import Logits
from kitae.models import LlamaModel, library

_BATCH = 512
_MAX_CONTEXT = 8192  # tokens of a single sequence that are reserved; more only costs memory
_MOST_SEQUENCES = 64  # more are no faster together
_USUAL_LENGTH = 1024
_SHARE_OF_MEMORY = 0.25  # what the cells of all sequences may take of what is free
_WORTH_COPYING = 16  # tokens that need not be read again
_CELLS = 256  # llama.cpp rounds what a sequence gets up to this


class LlamaEngine:
    name = "llama.cpp"

    def __init__(self, path: Path, template: str | None = None) -> None:
        self._lib = library()
        self._model = LlamaModel(path)
        self._reader: _Context | None = None
        self._read: list[int] = []
        facts = self._model.facts
        source = template_text(template) if template is not None else facts["chat_template"]
        if not source:
            raise InputError("template-missing", where=str(path))
        vocabulary = self._model.vocabulary
        self.codec = ChatCodec(vocabulary, ChatTemplate(source, self._model.control_texts, template or str(path)))
        self.stop_tokens = self._model.stop_tokens
        self.context = min(int(facts["context"]) or 2048, _MAX_CONTEXT)
        room = _SHARE_OF_MEMORY * free_memory() / (self._model.cell_bytes * min(self.context, _USUAL_LENGTH))
        self.width = max(1, min(_MOST_SEQUENCES, int(room)))

    @property
    def model(self) -> LlamaModel:
        return self._model

    def open(self, sequences: int, length: int) -> LlamaDecoder:
        return LlamaDecoder(self._lib, self._model, sequences, length)

    def logits(self, ids: Sequence[int], start: int) -> Logits:
        """What a row begins with is not read again if the row before began with it, too."""
        context, known = self._reader_for(ids, start)
        entries = [(ids[at], 0, at, start <= at < len(ids) - 1) for at in range(known, len(ids))]
        self._read = list(ids)
        return context.decode_all(entries)

    def _reader_for(self, ids: Sequence[int], start: int) -> tuple[_Context, int]:
        """A context, and how many of the tokens it has read already."""
        if self._reader is None or self._reader.length < len(ids):
            if self._reader is not None:
                self._reader.close()
            self._reader, self._read = _Context(self._lib, self._model, 1, len(ids)), []
        known = min(common_prefix([self._read, ids]), start)
        if not self._reader.forget(0, known):  # a model that carries a state can only begin again
            self._reader.forget(0)
            known = 0
        return self._reader, known

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
        self._model.close()


class LlamaDecoder:
    """Each sequence has a slot, with cells of its own."""

    joins = True

    def __init__(self, lib: Any, model: LlamaModel, sequences: int, length: int) -> None:
        self._context = _Context(lib, model, sequences, length)
        self._free = list(range(sequences - 1, -1, -1))
        self._slots: dict[int, int] = {}
        self._read: dict[int, list[int]] = {}  # by slot: its tokens

    def add(self, prompts: Mapping[int, Sequence[int]]) -> Logits:
        """What new prompts begin with is read once for all of them, or not at all if a sequence that is there has read it."""
        texts = list(prompts.values())
        shared = common_prefix(texts) if len(texts) > 1 else 0
        first = self._free[-1]
        known = self._take_over(first, texts[0][: shared if len(texts) > 1 else len(texts[0]) - 1])
        self._context.decode_all([(texts[0][at], first, at, False) for at in range(known, shared)])
        begun = max(shared, known)
        entries = []
        for sequence, text in prompts.items():
            slot = self._free.pop()
            if slot != first:
                self._context.copy(first, slot)
            self._slots[sequence], self._read[slot] = slot, list(text)
            entries += [(text[at], slot, at, at == len(text) - 1) for at in range(begun, len(text))]
        return self._context.decode_all(entries)

    def _take_over(self, slot: int, beginning: Sequence[int]) -> int:
        """How many of these tokens a slot has now, without reading them."""
        shared = {other: _same(tokens, beginning) for other, tokens in self._read.items()}
        best = max(shared, key=shared.__getitem__, default=slot)
        if shared.get(best, 0) < _WORTH_COPYING:
            return 0
        self._context.copy(best, slot)
        if self._context.forget(slot, shared[best]):
            return shared[best]
        self._context.forget(slot)  # a model that carries a state can only begin again
        return 0

    def feed(self, tokens: Mapping[int, int]) -> Logits:
        entries = []
        for sequence, token in tokens.items():
            read = self._read[self._slots[sequence]]
            entries.append((token, self._slots[sequence], len(read), True))
            read.append(token)
        return self._context.decode(entries)

    def fork(self, sequence: int, to: int) -> None:
        slot, other = self._free.pop(), self._slots[sequence]
        self._context.copy(other, slot)
        self._slots[to], self._read[slot] = slot, list(self._read[other])

    def drop(self, sequences: Collection[int]) -> None:
        for sequence in sequences:
            slot = self._slots.pop(sequence)
            del self._read[slot]
            self._context.forget(slot)
            self._free.append(slot)

    def close(self) -> None:
        self._context.close()


def _same(one: Sequence[int], other: Sequence[int]) -> int:
    length = min(len(one), len(other))
    return next((i for i in range(length) if one[i] != other[i]), length)


class _Context:
    """A llama.cpp context for `sequences` sequences of up to `length` tokens, each with cells of its own: among cells that are
    shared, every sequence would look at everybody's."""

    def __init__(self, lib: Any, model: LlamaModel, sequences: int, length: int) -> None:
        self._lib = lib
        params = self._lib.llama_context_default_params()
        self.length = -(-length // _CELLS) * _CELLS
        params.n_ctx = sequences * self.length
        params.n_batch = params.n_ubatch = _BATCH
        params.n_seq_max = sequences
        params.kv_unified = False
        params.n_threads = params.n_threads_batch = threads()
        self._handle = self._lib.llama_init_from_model(model.handle, params)
        if not self._handle:
            raise KitaeError("llama-context", where=str(model.path), why=f"n_ctx={params.n_ctx}")
        self._vocab = model.vocabulary.size
        self._batch = self._lib.llama_batch_init(_BATCH, 0, 1)

    def decode(self, entries: Sequence[tuple[int, int, int, bool]]) -> Logits:
        """Feeds (token, sequence, position, wants logits); the logits that were wanted, in order, until the next call."""
        batch = self._batch
        batch.n_tokens = len(entries)
        for i, (token, sequence, position, wanted) in enumerate(entries):
            batch.token[i] = token
            batch.pos[i] = position
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = sequence
            batch.logits[i] = wanted
        status = self._lib.llama_decode(self._handle, batch)
        if status != 0:
            raise KitaeError("llama-decode", why=f"llama_decode: {status}")
        wanted_rows = sum(entry[3] for entry in entries)
        if not wanted_rows:
            return np.empty((0, self._vocab), np.float32)
        return np.ctypeslib.as_array(self._lib.llama_get_logits(self._handle), (wanted_rows, self._vocab))

    def decode_all(self, entries: Sequence[tuple[int, int, int, bool]]) -> Logits:
        """Any number of them; the logits stay."""
        parts = [self.decode(entries[begin : begin + _BATCH]).copy() for begin in range(0, len(entries), _BATCH)]
        return np.concatenate(parts) if parts else np.empty((0, self._vocab), np.float32)

    def copy(self, sequence: int, to: int) -> None:
        self._lib.llama_memory_seq_cp(self._lib.llama_get_memory(self._handle), sequence, to, -1, -1)

    def forget(self, sequence: int, start: int = 0) -> bool:
        """All from a position on; False if the model's memory can't be cut there."""
        return bool(self._lib.llama_memory_seq_rm(self._lib.llama_get_memory(self._handle), sequence, start or -1, -1))

    def close(self) -> None:
        self._lib.llama_batch_free(self._batch)
        self._lib.llama_free(self._handle)


def threads() -> int:
    """KITAE_THREADS, else the physical cores that this process may use."""
    configured = os.environ.get("KITAE_THREADS", "")
    if configured.isdigit() and int(configured) > 0:
        return int(configured)
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(psutil.cpu_count(logical=False) or usable, usable))
