"""What generation keeps of the past: one state a block, whatever the length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers.cache_utils import CacheLayerMixin

from kitae.models.newllm.config import NewLLMConfig
from kitae.models.newllm.terms import State


class ContextLayer(CacheLayerMixin):  # type: ignore[misc]
    """Registers itself as the cache of `layer_types: newllm`, so transformers' own caches and searches know it."""

    _layer_type = NewLLMConfig.model_type

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.state: State | None = None
        self.cumulative_length = 0

    def put(self, state: State, tokens: int) -> None:
        self.state = state
        self.is_initialized = True
        self.cumulative_length += tokens

    def get_seq_length(self) -> int:
        return self.cumulative_length

    def get_max_length(self) -> int:
        return -1

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.cumulative_length + query_length, 0

    def reset(self) -> None:
        self.state, self.is_initialized, self.cumulative_length = None, False, 0

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        self.batch_select_indices(beam_idx)

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        self._change(lambda part: part.index_select(0, indices.to(part.device)))

    def batch_repeat_interleave(self, repeats: int) -> None:
        self._change(lambda part: part.repeat_interleave(repeats, dim=0))

    def join(self, others: Sequence[ContextLayer]) -> None:
        """Takes in their rows. A state has no length, so they need not have read as much."""
        states = [layer.state for layer in (self, *others) if layer.state is not None]
        context = torch.cat([state.context for state in states])
        memories = [state.memory for state in states if state.memory is not None]
        self.state = State(context, torch.cat(memories) if memories else None)

    def offload(self) -> None:
        self._change(lambda part: part.to("cpu"))

    def _change(self, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
        if self.state is not None:
            self.state = self.state.each(change)

    def prefetch(self) -> None:
        """Nothing to fetch ahead: a block moves its state to where it computes."""

    # The parent asks for these two. Only attention has keys and values, so nothing calls them here.

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        raise TypeError("a context has no keys and values")

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("a context has no keys and values")
