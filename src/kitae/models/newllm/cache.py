"""What generation keeps of the past: one context a block, whatever the length."""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import CacheLayerMixin

from kitae.models.newllm.config import NewLLMConfig


class ContextLayer(CacheLayerMixin):  # type: ignore[misc]
    """Registers itself as the cache of `layer_types: newllm`, so transformers' own caches and searches know it."""

    _layer_type = NewLLMConfig.model_type

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.context: torch.Tensor | None = None
        self.cumulative_length = 0

    def put(self, context: torch.Tensor, tokens: int) -> None:
        self.context = context
        self.is_initialized = True
        self.cumulative_length += tokens

    def get_seq_length(self) -> int:
        return self.cumulative_length

    def get_max_length(self) -> int:
        return -1

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.cumulative_length + query_length, 0

    def reset(self) -> None:
        self.context, self.is_initialized, self.cumulative_length = None, False, 0

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        self.batch_select_indices(beam_idx)

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        if self.context is not None:
            self.context = self.context.index_select(0, indices.to(self.context.device))

    def batch_repeat_interleave(self, repeats: int) -> None:
        if self.context is not None:
            self.context = self.context.repeat_interleave(repeats, dim=0)

    def offload(self) -> None:
        if self.context is not None:
            self.context = self.context.to("cpu")

    def prefetch(self) -> None:
        """Nothing to fetch ahead: a block moves its context to where it computes."""

    # The parent asks for these two. Only attention has keys and values, so nothing calls them here.

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        raise TypeError("a context has no keys and values")

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("a context has no keys and values")
