"""A Hugging Face model as an engine: left-padded batches over one key-value cache."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from transformers import DynamicCache

from kitae.chat import ChatCodec
from kitae.generate.prefix import common_prefix
from kitae.generate.sampling import Logits

if TYPE_CHECKING:
    from transformers import Cache, PreTrainedModel


class TorchEngine:
    name = "torch"
    width = 64

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


class TorchDecoder:
    """Sequences that were added together are one batch, and so are all whose keys and values can lie side by side."""

    def __init__(self, model: PreTrainedModel, soft_prompt: Cache | None) -> None:
        self._model, self._soft_prompt = model, soft_prompt
        self.joins = _attends(model, _copy(soft_prompt, model))
        self._batches: list[_Batch] = []

    def add(self, prompts: Mapping[int, Sequence[int]]) -> Logits:
        batch, logits = _Batch.of(self._model, prompts, self._soft_prompt)
        if self._batches and self.joins:
            self._batches[0].join(batch)
        else:
            self._batches.append(batch)
        return logits

    def feed(self, tokens: Mapping[int, int]) -> Logits:
        found: dict[int, Logits] = {}
        for batch in self._batches:
            found |= zip(batch.sequences, batch.feed([tokens[sequence] for sequence in batch.sequences]), strict=True)
        return np.stack([found[sequence] for sequence in tokens])

    def fork(self, sequence: int, to: int) -> None:
        batch = next(batch for batch in self._batches if sequence in batch.sequences)
        rows = [*range(len(batch.sequences)), batch.sequences.index(sequence)]
        batch.keep(rows)
        batch.sequences[-1] = to

    def drop(self, sequences: Collection[int]) -> None:
        for batch in self._batches:
            left = [row for row, sequence in enumerate(batch.sequences) if sequence not in sequences]
            if left and len(left) < len(batch.sequences):
                batch.keep(left)
            elif not left:
                batch.sequences = []
        self._batches = [batch for batch in self._batches if batch.sequences]

    def close(self) -> None:
        self._batches = []


class _Batch:
    """Left-padded rows over one cache."""

    def __init__(self, model: PreTrainedModel, sequences: list[int], cache: Cache, mask: torch.Tensor) -> None:
        self._model, self.sequences, self.cache, self._mask = model, sequences, cache, mask

    @staticmethod
    @torch.inference_mode()
    def of(model: PreTrainedModel, prompts: Mapping[int, Sequence[int]], soft_prompt: Cache | None) -> tuple[_Batch, Logits]:
        texts = list(prompts.values())
        cache = _copy(soft_prompt, model)
        shared = common_prefix(texts) if len(texts) > 1 and _attends(model, cache) else 0
        if shared:
            beginning = torch.tensor([list(texts[0][:shared])], device=model.device)
            model(input_ids=beginning, past_key_values=cache, use_cache=True, logits_to_keep=1)
        read = shared + _length(soft_prompt)
        if read and len(texts) > 1:
            cache.batch_repeat_interleave(len(texts))
        width = max(map(len, texts)) - shared
        ids = torch.zeros(len(texts), width, dtype=torch.long, device=model.device)
        own = torch.zeros_like(ids)
        for i, text in enumerate(texts):
            rest = text[shared:]
            ids[i, width - len(rest) :] = torch.tensor(list(rest), device=model.device)
            own[i, width - len(rest) :] = 1
        batch = _Batch(model, list(prompts), cache, torch.nn.functional.pad(own, (read, 0), value=1))
        return batch, batch._forward(ids, read + (own.cumsum(-1) - 1).clamp(min=0))

    @torch.inference_mode()
    def feed(self, tokens: Sequence[int]) -> Logits:
        self._mask = torch.nn.functional.pad(self._mask, (0, 1), value=1)
        ids = torch.tensor(list(tokens), device=self._mask.device)[:, None]
        return self._forward(ids, self._mask.sum(-1, keepdim=True) - 1)

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
    def join(self, other: _Batch) -> None:
        """Takes in another's rows."""
        length = max(self._mask.shape[1], other._mask.shape[1])

        def padded(tensor: torch.Tensor, at: int) -> torch.Tensor:
            missing = [0, 0] * (tensor.dim() - 1 - at) + [length - tensor.shape[at], 0]
            return torch.nn.functional.pad(tensor, missing)

        self._mask = torch.cat([padded(self._mask, 1), padded(other._mask, 1)])
        for mine, theirs in zip(self.cache.layers, other.cache.layers, strict=True):
            mine.keys = torch.cat([padded(mine.keys, 2), padded(theirs.keys, 2)])
            mine.values = torch.cat([padded(mine.values, 2), padded(theirs.values, 2)])
        self.sequences += other.sequences

    def _forward(self, ids: torch.Tensor, positions: torch.Tensor) -> Logits:
        found = self._model(
            input_ids=ids,
            attention_mask=self._mask,
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return _array(found.logits[:, -1])


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
