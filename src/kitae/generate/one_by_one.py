"""Attention and its memory where one token follows another on a CPU.

transformers copies all keys and values of a sequence to add one, and once more for every head that shares them: with thirty
sequences of three hundred tokens that takes longer than all multiplying. Here they lie in a room that has places left, and
heads that share keys are multiplied with them as they are.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AttentionInterface, DynamicCache, PretrainedConfig
from transformers.cache_utils import DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

Tensor = torch.Tensor
NAME = "kitae_one_by_one"
_PLACES = 64  # for tokens to come
# What makes attention another than a plain one over what is not masked.
_OTHER_KINDS = ("softcap", "s_aux", "position_bias")


class RoomyLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values are what is filled of a larger room."""

    keys: Tensor
    values: Tensor
    _room: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        before = self.get_seq_length()
        after = before + key_states.shape[-2]
        if not self._fits(after):
            pairs = ((key_states, self.keys), (value_states, self.values))
            first, second = (self._larger(new, old, before, after) for new, old in pairs)
            self._room = first, second
        assert self._room is not None
        for room, states in zip(self._room, (key_states, value_states), strict=True):
            room[:, :, before:after] = states
        self.keys, self.values = (room[:, :, :after] for room in self._room)
        return self.keys, self.values

    def leave_room(self) -> None:
        """What is there was chosen out of it, and lies elsewhere now."""
        self._room = None

    def batch_select_indices(self, indices: Tensor) -> None:
        super().batch_select_indices(indices)
        self.leave_room()

    def batch_repeat_interleave(self, repeats: int) -> None:
        super().batch_repeat_interleave(repeats)
        self.leave_room()

    def _fits(self, length: int) -> bool:
        """Whoever cuts, chooses or repeats rows makes other tensors of them, for which a new room is needed."""
        if self._room is None or self.keys is None or self.keys.shape[0] != self._room[0].shape[0]:
            return False
        same = self.keys.data_ptr() == self._room[0].data_ptr() and self.keys.stride() == self._room[0].stride()
        return same and length <= self._room[0].shape[2]

    @staticmethod
    def _larger(new: Tensor, old: Tensor, before: int, after: int) -> Tensor:
        room = new.new_empty(new.shape[0], new.shape[1], after + _PLACES, new.shape[3])
        if before:
            room[:, :, :before] = old
        return room


def roomy_cache(config: PretrainedConfig) -> DynamicCache:
    cache = DynamicCache(config=config)
    cache.layers = [RoomyLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def _attention(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **more: Any
) -> tuple[Tensor, None]:
    if query.shape[2] != 1 or any(more.get(kind) is not None for kind in _OTHER_KINDS):
        found: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **more)
        return found
    rows, heads, _, width = query.shape
    scale = more.get("scaling") or width**-0.5
    asked = query.view(rows, key.shape[1], -1, width) * scale
    scores = asked @ key.transpose(2, 3)
    if attention_mask is not None:
        mask = attention_mask[..., : key.shape[2]]
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    mixed = scores.softmax(-1, dtype=torch.float32).to(query.dtype) @ value
    return mixed.reshape(rows, 1, heads, value.shape[-1]), None


AttentionInterface.register(NAME, _attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
