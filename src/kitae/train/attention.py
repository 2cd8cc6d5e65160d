"""Causal attention for training on a CPU, block by block in plain batched products.

The fused kernel that torch has for CPUs spends a quarter of a training step in its backward pass. Products written out take a
fifth of that, but keep time × time numbers for every head and layer. Here each block of queries is multiplied with the keys up
to its end, and multiplied again in the backward pass, so what is kept grows with time alone. Heads that share keys are
multiplied with them as they are.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, causal_mask_function, sdpa_mask

_NAME = "kitae_blocks"
_BLOCK = 128
# What makes attention another than a causal one over all earlier tokens; the fused kernel knows what to do, or says no.
_OTHER_KINDS = ("softcap", "s_aux", "position_bias", "cache", "sliding_window")


def use_blocks(model: PreTrainedModel) -> None:
    """Only for models whose attention is a matter of choice, and where no other device will train them."""
    if not torch.accelerator.is_available() and getattr(model.config, "_attn_implementation", None) == "sdpa":
        model.set_attn_implementation(_NAME)


class BlockAttention(torch.autograd.Function):
    """Of queries [batch, groups, heads, time, width], scaled, and keys and values [batch, groups, all time, width]."""

    @staticmethod
    def forward(ctx: Any, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        found = torch.empty_like(queries)
        for times, end in _blocks(queries, keys):
            shares = _shares(queries[..., times, :], keys[:, :, :end])
            found[..., times, :] = (shares @ values[:, :, :end]).view_as(found[..., times, :])
        ctx.save_for_backward(queries, keys, values)
        return found

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        queries, keys, values = ctx.saved_tensors
        (slopes,) = upstream
        of_queries = torch.empty_like(queries)
        of_keys, of_values = torch.zeros_like(keys), torch.zeros_like(values)
        for times, end in _blocks(queries, keys):
            asked, slope = queries[..., times, :].flatten(2, 3), slopes[..., times, :].flatten(2, 3)
            shares = _shares(queries[..., times, :], keys[:, :, :end])
            of_values[:, :, :end] += shares.transpose(-1, -2) @ slope
            of_shares = slope @ values[:, :, :end].transpose(-1, -2)
            of_scores = torch._softmax_backward_data(of_shares, shares, -1, shares.dtype)
            of_queries[..., times, :] = (of_scores @ keys[:, :, :end]).view_as(of_queries[..., times, :])
            of_keys[:, :, :end] += of_scores.transpose(-1, -2) @ asked
        return of_queries, of_keys, of_values


def _blocks(queries: torch.Tensor, keys: torch.Tensor) -> list[tuple[slice, int]]:
    """Times of queries, and how many keys the last of them sees: the queries are the latest of all times."""
    time, earlier = queries.shape[3], keys.shape[2] - queries.shape[3]
    starts = range(0, time, _BLOCK)
    return [(slice(start, min(time, start + _BLOCK)), earlier + min(time, start + _BLOCK)) for start in starts]


def _shares(queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """How much each query takes of each key, [batch, groups, heads · times, keys]."""
    heads, times = queries.shape[2:4]
    scores = queries.flatten(2, 3) @ keys.transpose(-1, -2)
    later = torch.ones(times, times, dtype=torch.bool, device=queries.device).triu(1)
    scores.view(*scores.shape[:2], heads, times, -1)[..., -times:].masked_fill_(later, -torch.inf)
    return torch.softmax(scores, -1)


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **more: Any,
) -> tuple[torch.Tensor, None]:
    causal = is_causal if is_causal is not None else getattr(module, "is_causal", True)
    other = any(more.get(name) is not None for name in _OTHER_KINDS)
    if attention_mask is not None or dropout or not causal or other or key.shape[-1] != value.shape[-1]:
        found: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, is_causal=is_causal, **more
        )
        return found
    scaled = query * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    grouped = scaled.view(len(scaled), key.shape[1], -1, *scaled.shape[2:])
    mixed: torch.Tensor = BlockAttention.apply(grouped, key, value)  # type: ignore[no-untyped-call]
    return mixed.flatten(1, 2).transpose(1, 2), None


def _mask(*arguments: Any, **settings: Any) -> torch.Tensor | None:
    """None where every token sees all that came before it."""
    if settings.get("mask_function") is causal_mask_function and settings.get("attention_mask") is None:
        return None
    mask: torch.Tensor | None = sdpa_mask(*arguments, **settings)
    return mask


AttentionInterface.register(_NAME, _attend)
AttentionMaskInterface.register(_NAME, _mask)
