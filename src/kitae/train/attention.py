"""Causal attention for training on a CPU: rows of a strip apart from each other.

The fused kernel that torch has for CPUs is the fastest way forward, but spends a quarter of a training step in its backward
pass. Products written out take a fifth of that, but keep time × time numbers for every head and layer. Here each block of
queries is multiplied with the keys up to its end, and only in the backward pass, so what is kept grows with time alone. Heads
that share keys are multiplied with them as they are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, PretrainedConfig, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from kitae.train.head import compute_type
from kitae.train.strip import Group, Strip

Tensor = torch.Tensor

_NAME = "kitae_strips"
_BLOCK = 128
# What makes attention another than a causal one over all earlier tokens, or those in a window.
_OTHER_KINDS = ("softcap", "s_aux", "position_bias", "cache")
_KNOWN_LAYERS = {"full_attention", "sliding_attention"}
_DROPOUTS = ("attention_dropout", "attn_pdrop", "attention_probs_dropout_prob")

_strip: Strip | None = None  # the one that a model is being asked about


class CannotIsolate(ValueError):
    """Rows in one strip would see each other in this kind of attention."""


@contextlib.contextmanager
def attending(strip: Strip) -> Iterator[None]:
    """While a model is asked about tokens that lie in a strip."""
    global _strip
    _strip = strip
    try:
        yield
    finally:
        _strip = None


def allow_strips(model: PreTrainedModel) -> None:
    """Where a CPU trains a model whose attention is a matter of choice. Outside of `attending` it attends as before."""
    if not torch.accelerator.is_available() and _is_usual(model.config):
        model.set_attn_implementation(_NAME)


def strips_allowed(config: PretrainedConfig) -> bool:
    return getattr(config, "_attn_implementation", None) == _NAME


def _is_usual(config: PretrainedConfig) -> bool:
    layers = set(getattr(config, "layer_types", None) or ())
    dropout = any(getattr(config, name, 0.0) for name in _DROPOUTS)
    return getattr(config, "_attn_implementation", None) == "sdpa" and layers <= _KNOWN_LAYERS and not dropout


class StripAttention(torch.autograd.Function):
    """Of queries [tokens, heads, width], and keys and values, whose heads several queries' heads may share."""

    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, keys: Tensor, values: Tensor, strip: Strip, scale: float, window: int | None
    ) -> Tensor:
        found = _room_for(queries, strip)
        for group, asked, known, told in _parts(strip, queries, keys, values):
            mixed = _attend(asked * scale, known, told, window)
            found[group.tokens] = group.one_after_another(mixed.flatten(1, 2))
        ctx.save_for_backward(queries, keys, values)
        ctx.strip, ctx.scale, ctx.window = strip, scale, window
        return found

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        queries, keys, values = ctx.saved_tensors
        strip: Strip = ctx.strip
        of_queries, of_keys, of_values = (_room_for(x, strip) for x in ctx.saved_tensors)
        (slopes,) = upstream
        exact = torch.promote_types(keys.dtype, torch.float32)
        of_shared = [keys.new_zeros(strip.shared, *keys.shape[1:], dtype=exact) for _ in range(2)]
        for group, asked, known, told in _parts(strip, queries, keys, values):
            slope = _spread(slopes, group).view(asked.shape)
            for_queries, for_keys, for_values = _attend_back(slope, asked * ctx.scale, known, told, ctx.window)
            of_queries[group.tokens] = group.one_after_another(for_queries.mul_(ctx.scale).flatten(1, 2))
            begun = known.shape[2] - asked.shape[3]
            for of, found, shared in ((of_keys, for_keys, of_shared[0]), (of_values, for_values, of_shared[1])):
                of[group.tokens] = group.one_after_another(found[:, :, begun:])
                shared[:begun] += found[:, :, :begun].sum(0, dtype=shared.dtype).transpose(0, 1)
        if strip.shared:
            for of, shared in ((of_keys, of_shared[0]), (of_values, of_shared[1])):
                of[: strip.shared] += shared.to(of.dtype)
        return of_queries, of_keys, of_values, None, None, None


def _room_for(tokens: Tensor, strip: Strip) -> Tensor:
    room = torch.empty_like(tokens, memory_format=torch.contiguous_format)
    room[len(room) - strip.filling :] = 0
    return room


def _parts(strip: Strip, queries: Tensor, keys: Tensor, values: Tensor) -> Iterator[tuple[Group, Tensor, Tensor, Tensor]]:
    """Of each group: queries [rows, key heads, heads of one, time, width]; keys and values [rows, heads, all time, width]."""
    heads = keys.shape[1]
    groups = [strip.beginning, *strip.groups] if strip.shared else strip.groups
    for group in groups:
        flat = group.side_by_side(queries)
        asked = flat.view(len(flat), heads, -1, *flat.shape[2:])
        own = (group.side_by_side(x) for x in (keys, values))
        if strip.shared and group.tokens.start:
            begun = (x[None, : strip.shared].transpose(1, 2).expand(len(asked), -1, -1, -1) for x in (keys, values))
            known, told = (torch.cat(pair, 2) for pair in zip(begun, own, strict=True))
        else:
            known, told = (x.contiguous() for x in own)
        yield group, asked, known, told


def _spread(slopes: Tensor, group: Group) -> Tensor:
    """Side by side, and nothing where a row has ended: no loss depends on that."""
    if group.places is None or group.found is None:
        return group.side_by_side(slopes)
    rows, longest = group.places.shape
    spread = slopes.new_zeros(rows * longest, *slopes.shape[1:])
    spread[group.found] = slopes[group.tokens]
    return spread.view(rows, longest, *slopes.shape[1:]).transpose(1, 2)


def _attend(queries: Tensor, keys: Tensor, values: Tensor, window: int | None) -> Tensor:
    time, earlier = queries.shape[3], keys.shape[2] - queries.shape[3]
    if earlier <= time and (window is None or window >= keys.shape[2]):
        # The fused kernel lets the first query see the first key, so there are as many of both.
        asked = nn.functional.pad(queries.flatten(1, 2), (0, 0, earlier, 0))
        mixed = nn.functional.scaled_dot_product_attention(asked, keys, values, is_causal=True, scale=1.0, enable_gqa=True)
        return mixed[:, :, earlier:].view_as(queries)
    found = torch.empty_like(queries)
    for times, end in _blocks(queries, keys):
        shares = _shares(queries[..., times, :], keys[:, :, :end], window)
        found[..., times, :] = (shares @ values[:, :, :end]).view_as(found[..., times, :])
    return found


def _attend_back(
    slopes: Tensor, queries: Tensor, keys: Tensor, values: Tensor, window: int | None
) -> tuple[Tensor, Tensor, Tensor]:
    of_queries = torch.empty_like(queries)
    of_keys, of_values = torch.zeros_like(keys), torch.zeros_like(values)
    for_keys, for_values = of_keys.flatten(0, 1), of_values.flatten(0, 1)  # the same numbers
    for times, end in _blocks(queries, keys):
        asked, slope = queries[..., times, :].flatten(2, 3), slopes[..., times, :].flatten(2, 3)
        shares = _shares(queries[..., times, :], keys[:, :, :end], window)
        of_shares = slope @ values[:, :, :end].transpose(-1, -2)
        of_scores = torch._softmax_backward_data(of_shares, shares, -1, shares.dtype)
        of_queries[..., times, :] = (of_scores @ keys[:, :, :end]).view_as(of_queries[..., times, :])
        for_values[:, :end].baddbmm_(shares.flatten(0, 1).transpose(1, 2), slope.flatten(0, 1))
        for_keys[:, :end].baddbmm_(of_scores.flatten(0, 1).transpose(1, 2), asked.flatten(0, 1))
    return of_queries, of_keys, of_values


def _blocks(queries: Tensor, keys: Tensor) -> list[tuple[slice, int]]:
    """Times of queries, and how many keys the last of them sees: the queries are the latest of all times."""
    time, earlier = queries.shape[3], keys.shape[2] - queries.shape[3]
    starts = range(0, time, _BLOCK)
    return [(slice(start, min(time, start + _BLOCK)), earlier + min(time, start + _BLOCK)) for start in starts]


def _shares(queries: Tensor, keys: Tensor, window: int | None) -> Tensor:
    """How much each query takes of each key, [rows, key heads, heads of one · times, keys]."""
    heads, times = queries.shape[2:4]
    scores = queries.flatten(2, 3) @ keys.transpose(-1, -2)
    square = scores.view(*scores.shape[:2], heads, times, -1)
    square[..., -times:] += _later(times, scores.dtype)
    count = keys.shape[2]
    if window is not None and window < count:
        square.masked_fill_(torch.ones(times, count, dtype=torch.bool).tril(count - times - window), -torch.inf)
    return torch.softmax(scores, -1)


@lru_cache(maxsize=64)  # of whole blocks, and of the last ones of rows
def _later(times: int, dtype: torch.dtype) -> Tensor:
    """Nothing of what comes after a query: added to scores, of which none is infinite."""
    return torch.full((times, times), -torch.inf, dtype=dtype).triu(1)


def _attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    if _strip is None:
        found: tuple[Tensor, None] = sdpa_attention_forward(
            module,
            query,
            key,
            value,
            attention_mask,
            dropout=dropout,
            scaling=scaling,
            is_causal=is_causal,
            sliding_window=sliding_window,
            **more,
        )
        return found
    causal = is_causal if is_causal is not None else getattr(module, "is_causal", True)
    other = [name for name in _OTHER_KINDS if more.get(name) is not None]
    alike = key.shape == value.shape and len(query) == 1 and key.shape[2] == query.shape[2]
    if attention_mask is not None or dropout or not causal or other or not alike:
        raise CannotIsolate(", ".join(other) or type(module).__name__)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    dtype = compute_type(query)  # under autocast what comes here may be of several types, and is not cast in the backward pass
    parts = (x[0].transpose(0, 1).to(dtype) for x in (query, key, value))
    with torch.autocast(query.device.type, enabled=False):
        mixed: Tensor = StripAttention.apply(*parts, _strip, scale, sliding_window)  # type: ignore[no-untyped-call]
    return mixed[None], None


def _mask(*arguments: Any, **settings: Any) -> Tensor | None:
    if _strip is not None:  # rows are kept apart without one
        return None
    mask: Tensor | None = sdpa_mask(*arguments, **settings)
    return mask


AttentionInterface.register(_NAME, _attention)
AttentionMaskInterface.register(_NAME, _mask)
