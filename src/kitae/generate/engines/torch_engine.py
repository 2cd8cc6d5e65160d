"""A Hugging Face model as an engine: left-padded batches over one key-value cache."""

from __future__ import annotations

import copy
import sys
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from transformers import DynamicCache

from kitae.chat import ChatCodec
from kitae.generate.engine import Part, Vectors
from kitae.generate.prefix import common_prefix, same_beginning
from kitae.generate.sampling import Logits

if TYPE_CHECKING:
    from transformers import Cache, PreTrainedModel

    from kitae.generate.constraints import Grammars

_CHUNK = 4096  # tokens of prompts at a time
_WORTH_COPYING = 16  # tokens that need not be read again
_USED = 0.75  # of a cache's places; of fewer, those that nobody has are taken out
_MOST_KEPT = 8  # sequences that ended


class TorchEngine:
    name = "torch"
    width = 64
    embed: Callable[[Sequence[Sequence[int]]], Vectors] | None = None

    def __init__(
        self,
        model: PreTrainedModel,
        codec: ChatCodec,
        stop_tokens: set[int],
        context: int | None,
        soft_prompt: Cache | None = None,
    ) -> None:
        """`soft_prompt`: what comes before every prompt, as keys and values."""
        self.model = model.eval()
        self.codec = codec
        self.stop_tokens = stop_tokens
        self._soft_prompt = soft_prompt
        self.context = (context or 2048) - _length(soft_prompt)
        self._read: tuple[list[int], Cache | None] = [], None
        self.cell_bytes = _cell_bytes(model)

    @cached_property
    def grammars(self) -> Grammars:
        from kitae.generate.constraints import Grammars

        return Grammars(self.codec.vocabulary, self.stop_tokens)

    def open(self, sequences: int, length: int) -> TorchDecoder:
        return TorchDecoder(self.model, self._soft_prompt)

    @torch.inference_mode()
    def logits(self, ids: Sequence[int], start: int) -> Logits:
        """What a row begins with is not read again if the row before began with it, too."""
        before, cache = self._read
        self._read = [], None  # until this row has been read to its end
        known = min(common_prefix([before, ids]), start) if before else 0
        if cache is None or not known or not _attends(self.model, cache):
            known, cache = 0, _copy(self._soft_prompt, self.model)
        elif known < len(before):
            cache.crop(known - len(before))  # so many at the end
        row = torch.tensor([list(ids[known:])], device=self.model.device)
        keep = torch.arange(start - known, len(ids) - 1 - known, device=self.model.device)
        found = self.model(input_ids=row, past_key_values=cache, use_cache=True, logits_to_keep=keep)
        self._read = list(ids), cache
        return _array(found.logits[0])

    def close(self) -> None:
        del self.model


@dataclass
class _Kept:
    """What a sequence had read when it ended."""

    tokens: list[int]
    owner: str
    cache: Cache


class TorchDecoder:
    """All whose keys and values can lie side by side are one batch. A prompt is read beside it, and joins when it has been."""

    def __init__(self, model: PreTrainedModel, soft_prompt: Cache | None) -> None:
        self._model, self._soft_prompt = model, soft_prompt
        empty = _copy(soft_prompt, model)
        self.shares = _attends(model, empty)
        self.joins = self.shares or all(hasattr(layer, "join") for layer in empty.layers)  # New-LLM's states
        self.chunk = _CHUNK if self.joins else sys.maxsize  # left padding of later chunks would be no padding to a window
        self._batches: list[_Batch] = []
        self._unread: dict[int, _Batch] = {}  # whose prompts have been read in part
        self._tokens: dict[int, list[int]] = {}
        self._owners: dict[int, str] = {}
        self._kept: deque[_Kept] = deque(maxlen=_MOST_KEPT)

    def begin(self, sequence: int, prompt: Sequence[int], owner: str = "") -> int:
        prompt = list(prompt[:-1])
        self._tokens[sequence], self._owners[sequence] = [], owner
        if not self.shares:
            return 0
        shared: dict[tuple[str, int], int] = {}
        for other, tokens in self._tokens.items():
            if self._owners[other] == owner:
                shared["running", other] = same_beginning(tokens, prompt)
        for place, kept in enumerate(self._kept):
            if kept.owner == owner:
                shared["kept", place] = same_beginning(kept.tokens, prompt)
        (kind, which), known = max(shared.items(), key=lambda item: item[1])
        if known < _WORTH_COPYING:  # among them the sequence itself, which has read nothing
            return 0
        length = known + _length(self._soft_prompt)
        if kind == "kept":
            cache = _first(self._model, self._kept[which].cache, 0, torch.arange(length))
        else:
            cache = self._batch_of(which).taken(which, length)
        self._unread[sequence] = _Batch(self._model, [sequence], cache)
        self._tokens[sequence] = prompt[:known]
        return known

    def read(self, parts: Sequence[Part]) -> Logits:
        texts = {part.sequence: part.tokens for part in parts}
        for part in parts:
            if not part.wanted:
                batch = self._unread.get(part.sequence) or self._empty([part.sequence])
                batch.read([texts.pop(part.sequence)])
                self._unread[part.sequence] = batch
        wanted = max((part.wanted for part in parts), default=0)
        found: dict[int, Logits] = {}
        for batch in self._batches:
            found |= _rows(batch, texts, wanted)
        for batch in self._gathered([sequence for sequence in texts if sequence not in found]):
            found |= _rows(batch, texts, wanted)
            self._join(batch)
        for part in parts:  # only now: a Ctrl-C may have ended it before
            self._tokens[part.sequence] += part.tokens
        rows = [found[part.sequence][-part.wanted :] for part in parts if part.wanted]
        return np.concatenate(rows) if rows else np.empty((0, self._model.config.get_text_config().vocab_size), np.float32)

    def cut(self, sequence: int, length: int) -> None:
        self._batch_of(sequence).cut(sequence, len(self._tokens[sequence]) - length)
        del self._tokens[sequence][length:]

    def fork(self, sequence: int, to: int) -> None:
        batch = self._batch_of(sequence)
        batch.keep([*range(len(batch.sequences)), batch.sequences.index(sequence)])
        batch.sequences[-1] = to
        self._tokens[to], self._owners[to] = list(self._tokens[sequence]), self._owners[sequence]

    def drop(self, sequences: Collection[int]) -> None:
        for sequence in sequences:
            tokens, owner = self._tokens.pop(sequence), self._owners.pop(sequence)
            if self.shares and len(tokens) >= _WORTH_COPYING:
                length = len(tokens) + _length(self._soft_prompt)
                self._kept.append(_Kept(tokens, owner, self._batch_of(sequence).taken(sequence, length)))
            self._unread.pop(sequence, None)
        for batch in self._batches:
            left = [row for row, sequence in enumerate(batch.sequences) if sequence not in sequences]
            if left and len(left) < len(batch.sequences):
                batch.keep(left)
            elif not left:
                batch.sequences = []
        self._batches = [batch for batch in self._batches if batch.sequences]

    def close(self) -> None:
        self._batches, self._unread = [], {}
        self._kept.clear()

    def _empty(self, sequences: list[int]) -> _Batch:
        cache = _copy(self._soft_prompt, self._model)
        if self._soft_prompt is not None and len(sequences) > 1:
            cache.batch_repeat_interleave(len(sequences))
        return _Batch(self._model, sequences, cache)

    def _gathered(self, new: list[int]) -> list[_Batch]:
        """Those that are read to their end now: the ones that have read before, and the ones that haven't."""
        begun = [self._unread.pop(sequence) for sequence in new if sequence in self._unread]
        there = {sequence for batch in begun for sequence in batch.sequences}
        fresh = [sequence for sequence in new if sequence not in there]
        if self.joins and len(begun) > 1:
            begun[0].join(begun[1:])
            del begun[1:]
        return [*begun, *([self._empty(fresh)] if fresh else [])]

    def _join(self, batch: _Batch) -> None:
        if self._batches and self.joins:
            self._batches[0].join([batch])
        else:
            self._batches.append(batch)

    def _batch_of(self, sequence: int) -> _Batch:
        if sequence in self._unread:
            return self._unread[sequence]
        return next(batch for batch in self._batches if sequence in batch.sequences)


class _Batch:
    """Rows over one cache. What a row has not is masked, at its left or where something was cut out."""

    def __init__(self, model: PreTrainedModel, sequences: list[int], cache: Cache) -> None:
        self._model, self.sequences, self.cache = model, sequences, cache
        self._mask = torch.ones(len(sequences), _length(cache), dtype=torch.long, device=model.device)

    @torch.inference_mode()
    def read(self, texts: Sequence[Sequence[int]], wanted: int = 0) -> Logits:
        """Of each row the logits at the last `wanted` tokens (those of padding among them where a text is shorter)."""
        width = max(map(len, texts))
        ids = torch.tensor([[0] * (width - len(text)) + list(text) for text in texts], device=self._mask.device)
        own = torch.tensor([[0] * (width - len(text)) + [1] * len(text) for text in texts], device=self._mask.device)
        positions = self._mask.sum(-1, keepdim=True) + (own.cumsum(-1) - 1).clamp(min=0)
        mask = torch.cat([self._mask, own], dim=-1)
        found = self._model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=max(1, min(wanted, width)),
        )
        self._mask = mask
        return _array(found.logits)

    @torch.inference_mode()
    def cut(self, sequence: int, count: int) -> None:
        """The last tokens of a row."""
        row = self.sequences.index(sequence)
        places = self._mask[row].nonzero()[:, 0]
        self._mask[row, places[len(places) - count :]] = 0
        if float(self._mask.any(0).float().mean()) < _USED:
            self.keep(range(len(self.sequences)))

    @torch.inference_mode()
    def taken(self, sequence: int, length: int) -> Cache:
        """A copy of the first tokens of a row."""
        row = self.sequences.index(sequence)
        return _first(self._model, self.cache, row, self._mask[row].nonzero()[:length, 0])

    @torch.inference_mode()
    def keep(self, rows: Sequence[int]) -> None:
        """These, named by their present place. One may be named twice."""
        index = torch.tensor(list(rows), device=self._mask.device)
        self.cache.batch_select_indices(index)
        self._mask = self._mask[index]
        self.sequences = [self.sequences[row] for row in rows]
        used = self._mask.any(0)
        if not used.all() and _attends(self._model, self.cache):  # places that only others had
            self._mask = self._mask[:, used]
            for layer in self.cache.layers:
                layer.keys, layer.values = layer.keys[:, :, used], layer.values[:, :, used]

    @torch.inference_mode()
    def join(self, others: Sequence[_Batch]) -> None:
        """Takes in the rows of others."""
        every = [self, *others]
        length = max(batch._mask.shape[1] for batch in every)

        def padded(tensor: torch.Tensor, at: int) -> torch.Tensor:
            missing = [0, 0] * (tensor.dim() - 1 - at) + [length - tensor.shape[at], 0]
            return torch.nn.functional.pad(tensor, missing)

        for first, *rest in zip(*(batch.cache.layers for batch in every), strict=True):
            if hasattr(first, "join"):
                first.join(rest)
            elif first.is_initialized:
                first.keys = torch.cat([padded(layer.keys, 2) for layer in (first, *rest)])
                first.values = torch.cat([padded(layer.values, 2) for layer in (first, *rest)])
        self._mask = torch.cat([padded(batch._mask, 1) for batch in every])
        self.sequences = [sequence for batch in every for sequence in batch.sequences]


def _cell_bytes(model: PreTrainedModel) -> int:
    if getattr(model, "carries_state", False):
        return 0
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * model.dtype.itemsize * config.num_hidden_layers * heads * size)


def _rows(batch: _Batch, texts: Mapping[int, Sequence[int]], wanted: int) -> dict[int, Logits]:
    return dict(zip(batch.sequences, batch.read([texts[sequence] for sequence in batch.sequences], wanted), strict=True))


def _first(model: PreTrainedModel, cache: Cache, row: int, places: torch.Tensor) -> Cache:
    """A copy of one row, at these places."""
    copied = _copy(None, model)
    for index, layer in enumerate(cache.layers):
        if layer.is_initialized:
            copied.update(layer.keys[row : row + 1, :, places], layer.values[row : row + 1, :, places], index)
    return copied


def _copy(soft_prompt: Cache | None, model: PreTrainedModel) -> Cache:
    return DynamicCache(config=model.config) if soft_prompt is None else copy.deepcopy(soft_prompt)


def _attends(model: PreTrainedModel, cache: Cache) -> bool:
    """To all that came before, so that what was read can be cut and shared. A window or a state has lost its beginning."""
    plain = all(hasattr(layer, "crop") and not getattr(layer, "is_sliding", False) for layer in cache.layers)
    return plain and not getattr(model, "carries_state", False)


def _length(soft_prompt: Cache | None) -> int:
    return 0 if soft_prompt is None else int(soft_prompt.get_seq_length())


def _array(tensor: torch.Tensor) -> Logits:
    array: Logits = tensor.float().cpu().numpy().astype(np.float32, copy=False)
    return array
