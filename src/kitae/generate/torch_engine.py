"""A Hugging Face model as an engine: left-padded batches over one key-value cache."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from transformers import DynamicCache

from kitae.chat import ChatCodec
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

    def begin(self, prompts: Sequence[Sequence[int]], room: int) -> TorchSession:
        return TorchSession(self.model, prompts, self._soft_prompt)

    @torch.inference_mode()
    def logits(self, ids: Sequence[int], start: int) -> Logits:
        row = torch.tensor([list(ids)], device=self.model.device)
        keep = torch.arange(start, len(ids) - 1, device=self.model.device)
        begun = copy.deepcopy(self._soft_prompt)
        found = self.model(input_ids=row, past_key_values=begun, use_cache=begun is not None, logits_to_keep=keep)
        return _array(found.logits[0])

    def close(self) -> None:
        del self.model


class TorchSession:
    @torch.inference_mode()
    def __init__(self, model: PreTrainedModel, prompts: Sequence[Sequence[int]], soft_prompt: Cache | None) -> None:
        self._model = model
        device = model.device
        width = max(len(prompt) for prompt in prompts)
        ids = torch.zeros(len(prompts), width, dtype=torch.long, device=device)
        self._mask = torch.zeros_like(ids)
        for i, prompt in enumerate(prompts):
            ids[i, width - len(prompt) :] = torch.tensor(list(prompt), device=device)
            self._mask[i, width - len(prompt) :] = 1
        self._cache = DynamicCache(config=model.config)
        positions = (self._mask.cumsum(-1) - 1).clamp(min=0)
        if soft_prompt is not None:
            self._cache = copy.deepcopy(soft_prompt)
            self._cache.batch_repeat_interleave(len(prompts))
            positions = positions + _length(soft_prompt)
            self._mask = torch.nn.functional.pad(self._mask, (_length(soft_prompt), 0), value=1)
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


def _length(soft_prompt: Cache | None) -> int:
    return 0 if soft_prompt is None else int(soft_prompt.get_seq_length())


def _array(tensor: torch.Tensor) -> Logits:
    array: Logits = tensor.float().cpu().numpy().astype(np.float32, copy=False)
    return array
