"""A GGUF file as an engine: many sequences in one llama.cpp batch."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
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

_BATCH = 512
_MAX_CONTEXT = 8192  # tokens of a single sequence that are reserved; more only costs memory
_MOST_SEQUENCES = 64  # more are no faster together
_USUAL_LENGTH = 1024
_SHARE_OF_MEMORY = 0.25  # what the cells of all sequences may take of what is free
_WORTH_COPYING = 16  # tokens that need not be read again
_POOLINGS = (1, 2, 3)  # mean, first, last: models that were made for embeddings name one
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
class _Slot:
    """Cells of one sequence after another. What the last one has read stays until somebody else needs the place."""

    tokens: list[int] = field(default_factory=list)
    owner: str = ""


class LlamaDecoder:
    """Each sequence has a slot, with cells of its own."""

    joins = True
    chunk = _BATCH

    def __init__(self, lib: Any, model: LlamaModel, sequences: int, length: int) -> None:
        self._context = _Context(lib, model, sequences, length)
        self.shares = self._context.cuts
        self._slots = [_Slot() for _ in range(sequences)]
        self._free = list(range(sequences))  # whose sequence ended longest ago comes first
        self._taken: dict[int, int] = {}  # by sequence: its slot

    def begin(self, sequence: int, prompt: Sequence[int], owner: str = "") -> int:
        prompt = list(prompt[:-1])
        shared = [same_beginning(slot.tokens, prompt) if slot.owner == owner and self.shares else 0 for slot in self._slots]
        best = max(range(len(shared)), key=shared.__getitem__)
        known = shared[best] if shared[best] >= _WORTH_COPYING else 0
        # A slot that has much besides is left as it is: whoever said that may go on with it.
        mostly = best in self._free and 2 * known >= len(self._slots[best].tokens)
        number = best if known and mostly else self._free[0]
        self._free.remove(number)
        if known and number != best:
            self._context.copy(best, number)
        self._context.forget(number, known)
        self._slots[number] = _Slot(prompt[:known], owner)
        self._taken[sequence] = number
        return known

    def read(self, parts: Sequence[Part]) -> Logits:
        entries = []
        for part in parts:
            number = self._taken[part.sequence]
            tokens = self._slots[number].tokens
            first_wanted = len(part.tokens) - part.wanted
            entries += [(token, number, len(tokens) + i, i >= first_wanted) for i, token in enumerate(part.tokens)]
            tokens += part.tokens
        return self._context.decode(entries) if len(entries) <= _BATCH else self._context.decode_all(entries)

    def cut(self, sequence: int, length: int) -> None:
        number = self._taken[sequence]
        self._context.forget(number, length)
        del self._slots[number].tokens[length:]

    def fork(self, sequence: int, to: int) -> None:
        number, other = self._free.pop(0), self._taken[sequence]
        self._context.forget(number)
        self._context.copy(other, number)
        self._slots[number] = replace(self._slots[other], tokens=list(self._slots[other].tokens))
        self._taken[to] = number

    def drop(self, sequences: Collection[int]) -> None:
        self._free += [self._taken.pop(sequence) for sequence in sequences]

    def close(self) -> None:
        self._context.close()


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
        params.n_batch = params.n_ubatch = size
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
