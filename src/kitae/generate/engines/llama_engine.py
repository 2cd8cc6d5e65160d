"""A GGUF file as an engine: many sequences in one llama.cpp batch."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import psutil

from kitae.chat import ChatCodec, ChatTemplate, template_text
from kitae.core.errors import ContextFull, InputError, KitaeError
from kitae.core.hardware import free_memory
from kitae.generate.engine import Part, Vectors
from kitae.generate.prefix import common_prefix, same_beginning
from kitae.generate.sampling import Logits
from kitae.models import LlamaModel, library

if TYPE_CHECKING:
    from kitae.generate.constraints import Grammars

State = npt.NDArray[np.uint8]
_BATCH = 2048  # tokens that are handed over at a time
_AT_ONCE = 512  # and computed at a time
_MAX_CONTEXT = 8192  # tokens of a single sequence that are reserved; more only costs memory
_MOST_SEQUENCES = 64  # more are no faster together
_USUAL_LENGTH = 1024
_SHARE_OF_MEMORY = 0.25  # what the cells of all sequences may take of what is free
_WORTH_COPYING = 16  # tokens that need not be read again
_POOLINGS = (1, 2, 3)  # mean, first, last: models that were made for embeddings name one
_KEPT_BYTES = 256 << 20  # of sequences that ended, which others may begin like
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
        self.cell_bytes = self._model.cell_bytes
        room = _SHARE_OF_MEMORY * free_memory() / (self.cell_bytes * min(self.context, _USUAL_LENGTH))
        self.width = max(1, min(_MOST_SEQUENCES, int(room)))
        self._pooling = int(self._model.meta(f"{facts['architecture']}.pooling_type") or 0)
        self._embedding = Lock()  # it happens beside the decode loop

    @cached_property
    def grammars(self) -> Grammars:
        from kitae.generate.constraints import Grammars

        return Grammars(self.codec.vocabulary, self.stop_tokens)

    @property
    def model(self) -> LlamaModel:
        return self._model

    def open(self, sequences: int, length: int) -> LlamaDecoder:
        return LlamaDecoder(self._lib, self._model, sequences, length)

    def logits(self, ids: Sequence[int], start: int) -> Logits:
        """What a row begins with is not read again if the row before began with it, too."""
        context, known = self._reader_for(ids, start)
        entries = [(ids[at], 0, at, start <= at < len(ids) - 1) for at in range(known, len(ids))]
        self._read = []  # until this row has been read to its end
        found = context.decode_all(entries)
        self._read = list(ids)
        return found

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

    @property
    def embed(self) -> Callable[[Sequence[Sequence[int]]], Vectors] | None:
        return self._embedded if self._pooling in _POOLINGS else None

    def _embedded(self, texts: Sequence[Sequence[int]]) -> Vectors:
        longest = max(map(len, texts))
        if longest > self.context:
            raise ContextFull("context-full", tokens=longest, limit=self.context)
        with self._embedding:
            context = _Context(self._lib, self._model, 1, longest, self._pooling)
            try:
                return np.stack([context.embedded(text) for text in texts])
            finally:
                context.close()

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
        self._model.close()


@dataclass
class _Read:
    """What a sequence has read; `state`: with the cells that llama.cpp made of it, when the sequence has ended."""

    tokens: list[int]
    owner: str
    state: State | None = None


class LlamaDecoder:
    """Each sequence has a slot, with cells of its own. llama.cpp computes neighbours together, and others one after another, so
    those that are decoded have the first slots, and are given to it in their order."""

    joins = True
    chunk = _BATCH

    def __init__(self, lib: Any, model: LlamaModel, sequences: int, length: int) -> None:
        self._context = _Context(lib, model, sequences, length)
        self.shares = self._context.cuts
        self._slots: list[int | None] = [None] * sequences  # who has it
        self._read: dict[int, _Read] = {}
        self._kept: deque[_Read] = deque()  # of sequences that ended, the latest last
        self._kept_bytes = 0

    def begin(self, sequence: int, prompt: Sequence[int], owner: str = "") -> int:
        prompt = list(prompt[:-1])
        slot = self._slots.index(None)
        self._slots[slot] = sequence
        known, best = 0, None
        if self.shares:
            others = [*self._read.items(), *((None, kept) for kept in self._kept)]
            found = [(same_beginning(read.tokens, prompt), who, read) for who, read in others if read.owner == owner]
            known, who, best = max(found, key=lambda each: each[0], default=(0, None, None))
        if best is None or known < _WORTH_COPYING:
            known = 0
        else:
            self._context.restore(best.state if who is None else self._context.state(self._slots.index(who)), slot)
        self._context.forget(slot, known)
        self._read[sequence] = _Read(prompt[:known], owner)
        return known

    def read(self, parts: Sequence[Part]) -> Logits:
        self._close_gaps()
        order = sorted(range(len(parts)), key=lambda i: self._slots.index(parts[i].sequence))
        entries = []
        for part in (parts[i] for i in order):
            slot, tokens = self._slots.index(part.sequence), self._read[part.sequence].tokens
            first_wanted = len(part.tokens) - part.wanted
            entries += [(token, slot, len(tokens) + i, i >= first_wanted) for i, token in enumerate(part.tokens)]
        rows = self._context.decode(entries) if len(entries) <= _BATCH else self._context.decode_all(entries)
        for part in parts:  # only now: a Ctrl-C may have ended it before
            self._read[part.sequence].tokens += part.tokens
        return _back(rows, order, [part.wanted for part in parts])

    def cut(self, sequence: int, length: int) -> None:
        self._context.forget(self._slots.index(sequence), length)
        del self._read[sequence].tokens[length:]

    def fork(self, sequence: int, to: int) -> None:
        slot = self._slots.index(None)
        self._context.restore(self._context.state(self._slots.index(sequence)), slot)
        self._slots[slot], first = to, self._read[sequence]
        self._read[to] = _Read(list(first.tokens), first.owner)

    def drop(self, sequences: Collection[int]) -> None:
        for sequence in sequences:
            slot, read = self._slots.index(sequence), self._read.pop(sequence)
            if self.shares and len(read.tokens) >= _WORTH_COPYING:
                self._keep(replace(read, state=self._context.state(slot)))
            self._context.forget(slot)
            self._slots[slot] = None

    def close(self) -> None:
        self._context.close()

    def _keep(self, read: _Read) -> None:
        """Others that it goes on from hold nothing more, so they needn't be kept."""
        known = [kept for kept in self._kept if kept.owner == read.owner and kept.tokens == read.tokens[: len(kept.tokens)]]
        for kept in known:
            self._forget_kept(kept)
        self._kept.append(read)
        self._kept_bytes += len(read.state if read.state is not None else b"")
        while len(self._kept) > 1 and self._kept_bytes > _KEPT_BYTES:
            self._forget_kept(self._kept[0])

    def _forget_kept(self, kept: _Read) -> None:
        self._kept = deque(other for other in self._kept if other is not kept)
        self._kept_bytes -= len(kept.state if kept.state is not None else b"")

    def _close_gaps(self) -> None:
        count = len(self._read)
        while None in self._slots[:count]:
            last = max(slot for slot, who in enumerate(self._slots) if who is not None)
            gap = self._slots.index(None)
            self._context.restore(self._context.state(last), gap)
            self._context.forget(last)
            self._slots[gap], self._slots[last] = self._slots[last], None


def _back(rows: Logits, order: Sequence[int], wanted: Sequence[int]) -> Logits:
    """In the order in which the parts were given."""
    if order == sorted(order) or not len(rows):
        return rows
    begins = dict(zip(order, np.cumsum([0, *(wanted[i] for i in order)]).tolist(), strict=False))
    return rows[[begins[i] + at for i in range(len(wanted)) for at in range(wanted[i])]]


class _Context:
    """A llama.cpp context for `sequences` sequences of up to `length` tokens, each with cells of its own: among cells that are
    shared, every sequence would look at everybody's."""

    def __init__(self, lib: Any, model: LlamaModel, sequences: int, length: int, pooling: int = 0) -> None:
        """`pooling`: how one vector is made of a text, instead of logits."""
        self._lib = lib
        params = self._lib.llama_context_default_params()
        self.length = -(-length // _CELLS) * _CELLS
        params.n_ctx = sequences * self.length
        size = self.length if pooling else _BATCH  # a text that is pooled has to be read in one go
        params.n_batch, params.n_ubatch = size, self.length if pooling else _AT_ONCE
        if pooling:
            params.embeddings, params.pooling_type = True, pooling
        params.n_seq_max = sequences
        params.kv_unified = False
        params.n_threads = params.n_threads_batch = threads()
        self._handle = self._lib.llama_init_from_model(model.handle, params)
        if not self._handle:
            raise KitaeError("llama-context", where=str(model.path), why=f"n_ctx={params.n_ctx}")
        self.cuts = not (lib.llama_model_is_recurrent(model.handle) or lib.llama_model_is_hybrid(model.handle))
        self._vocab = model.vocabulary.size
        self._width = int(lib.llama_model_n_embd(model.handle))
        batch = self._batch = self._lib.llama_batch_init(size, 0, 1)
        of_all = (batch.token, batch.pos, batch.logits, batch.n_seq_id)
        self._tokens, self._places, self._wanted, counts = (np.ctypeslib.as_array(array, (size,)) for array in of_all)
        counts[:] = 1

    def decode(self, entries: Sequence[tuple[int, int, int, bool]]) -> Logits:
        """Feeds (token, sequence, position, wants logits); the logits that were wanted, in order, until the next call."""
        wanted = self._fill(entries)
        self._run()
        if not wanted:
            return np.empty((0, self._vocab), np.float32)
        return np.ctypeslib.as_array(self._lib.llama_get_logits(self._handle), (wanted, self._vocab))

    def _fill(self, entries: Sequence[tuple[int, int, int, bool]]) -> int:
        """How many are wanted."""
        count = self._batch.n_tokens = len(entries)
        tokens, sequences, places, wanted = zip(*entries, strict=True)
        self._tokens[:count], self._places[:count], self._wanted[:count] = tokens, places, wanted
        for ids, sequence in zip(self._batch.seq_id[:count], sequences, strict=True):
            ids[0] = sequence
        return sum(wanted)

    def embedded(self, text: Sequence[int]) -> Vectors:
        """Of length one."""
        self.forget(0)
        self._fill([(token, 0, at, True) for at, token in enumerate(text)])
        self._run()
        found = np.ctypeslib.as_array(self._lib.llama_get_embeddings_seq(self._handle, 0), (self._width,))
        vector: Vectors = (found / max(float(np.linalg.norm(found)), 1e-12)).astype(np.float32)
        return vector

    def _run(self) -> None:
        status = self._lib.llama_decode(self._handle, self._batch)
        if status != 0:
            raise KitaeError("llama-decode", why=f"llama_decode: {status}")

    def decode_all(self, entries: Sequence[tuple[int, int, int, bool]]) -> Logits:
        """Any number of them; the logits stay."""
        parts = [self.decode(entries[begin : begin + _AT_ONCE]).copy() for begin in range(0, len(entries), _AT_ONCE)]
        return np.concatenate(parts) if parts else np.empty((0, self._vocab), np.float32)

    def state(self, sequence: int) -> State:
        """What it has read. (llama.cpp's own way to copy a sequence copies all that it could ever have.)"""
        size = self._lib.llama_state_seq_get_size(self._handle, sequence)
        buffer = np.empty(size, np.uint8)
        written = self._lib.llama_state_seq_get_data(self._handle, buffer.ctypes.data, size, sequence)
        return buffer[:written]

    def restore(self, state: State | None, sequence: int) -> None:
        assert state is not None
        if not self._lib.llama_state_seq_set_data(self._handle, state.ctypes.data, len(state), sequence):
            raise KitaeError("llama-decode", why="llama_state_seq_set_data")

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
