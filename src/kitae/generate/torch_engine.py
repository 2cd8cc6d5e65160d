"""A Hugging Face model as an engine: left-padded batches over one key-value cache."""

from __future__ import annotations

import copy
from collections.abc import Sequence
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

    def begin(self, prompts: Sequence[Sequence[int]], room: int) -> TorchSession:
        return TorchSession(self.model, prompts, self._soft_prompt)

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


class TorchSession:
    @torch.inference_mode()
    def __init__(self, model: PreTrainedModel, prompts: Sequence[Sequence[int]], soft_prompt: Cache | None) -> None:
        self._model = model
        self._cache = _copy(soft_prompt, model)
        shared = common_prefix(prompts) if len(prompts) > 1 and _attends(model, self._cache) else 0
        if shared:
            beginning = torch.tensor([list(prompts[0][:shared])], device=model.device)
            model(input_ids=beginning, past_key_values=self._cache, use_cache=True, logits_to_keep=1)
        read = shared + _length(soft_prompt)
        if read and len(prompts) > 1:
            self._cache.batch_repeat_interleave(len(prompts))
        width = max(len(prompt) for prompt in prompts) - shared
        ids = torch.zeros(len(prompts), width, dtype=torch.long, device=model.device)
        own = torch.zeros_like(ids)
        for i, prompt in enumerate(prompts):
            rest = prompt[shared:]
            ids[i, width - len(rest) :] = torch.tensor(list(rest), device=model.device)
            own[i, width - len(rest) :] = 1
        positions = read + (own.cumsum(-1) - 1).clamp(min=0)
        self._mask = torch.nn.functional.pad(own, (read, 0), value=1)
        self._logits = self._forward(ids, positions)

    def next_logits(self) -> Logits:
        return _array(self._logits)

    @torch.inference_mode()
    def feed(self, tokens: Sequence[int]) -> None:
        self._mask = torch.nn.functional.pad(self._mask, (0, 1), value=1)
        ids = torch.tensor(list(tokens), device=self._mask.device)[:, None]
        self._logits = self._forward(ids, self._mask.sum(-1, keepdim=True) - 1)

    @torch.inference_mode()
    def keep(self, rows: Sequence[int]) -> None:
        index = torch.tensor(list(rows), device=self._mask.device)
        self._cache.batch_select_indices(index)
        self._mask = self._mask[index]

    def close(self) -> None:
        del self._cache

    def _forward(self, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        return self._model(  # type: ignore[no-any-return]
            input_ids=ids,
            attention_mask=self._mask,
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]


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
