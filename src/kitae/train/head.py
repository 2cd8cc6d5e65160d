"""What each label costs, block by block: no more than a few megabytes of logits exist at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

Tensor = torch.Tensor

_LOGITS = 1 << 23  # at once; allocators return larger blocks to the system after each use, and get them zeroed again
_ROWS = 64  # in fp32 at once


def label_losses(hidden: Tensor, head: nn.Linear, targets: Tensor, cap: float | None) -> Tensor:
    """The negative log-likelihood of each target under `head(hidden)`, soft-capped at `cap`, in fp32."""
    kind = hidden.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else head.weight.dtype
    filling = -len(hidden) % _ROWS  # of few sizes, because libraries prepare, and keep, a program for each
    with torch.autocast(kind, enabled=False):
        filled = nn.functional.pad(hidden.to(dtype), (0, 0, 0, filling)), nn.functional.pad(targets, (0, filling))
        found: Tensor = _HeadLosses.apply(filled[0], head.weight, head.bias, filled[1], cap)  # type: ignore[no-untyped-call]
    return found[: len(hidden)]


def logit_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """The same of logits that a model made itself."""
    return _LogitLosses.apply(logits, targets)  # type: ignore[no-any-return,no-untyped-call]


class _HeadLosses(torch.autograd.Function):
    """Beside a frozen head the slopes are made together with the losses. One that learns needs its own as well, which depend
    on how much each label counts, so its products are made again when that is known."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, cap: float | None) -> Tensor:
        learns = ctx.needs_input_grad[1] or ctx.needs_input_grad[2]
        slopes = torch.empty_like(hidden) if ctx.needs_input_grad[0] and not learns else None
        losses = torch.empty(len(hidden), device=hidden.device)
        for part, logits, used in _blocks(hidden, weight, bias):
            losses[part] = _losses_and_slopes(logits, targets[part], cap)
            if slopes is not None:
                torch.mm(logits, used, out=slopes[part])
        ctx.cap = cap
        if learns:
            ctx.save_for_backward(hidden, weight, bias, targets)
        else:
            ctx.save_for_backward(slopes)
        return losses

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        if len(ctx.saved_tensors) == 1:
            (slopes,) = ctx.saved_tensors
            return slopes * upstream[0][:, None].to(slopes.dtype), None, None, None, None
        hidden, weight, bias, targets = ctx.saved_tensors
        of_hidden, of_weight = torch.empty_like(hidden), torch.zeros_like(weight)
        of_bias = None if bias is None else torch.zeros_like(bias)
        for part, logits, used in _blocks(hidden, weight, bias):
            _losses_and_slopes(logits, targets[part], ctx.cap)
            logits.mul_(upstream[0][part, None].to(logits.dtype))
            torch.mm(logits, used, out=of_hidden[part])
            of_weight += (logits.T @ hidden[part]).to(weight.dtype)
            if of_bias is not None:
                of_bias += logits.sum(0).to(of_bias.dtype)
        return of_hidden, of_weight, of_bias, None, None


class _LogitLosses(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        slopes = logits.clone()
        losses = _losses_and_slopes(slopes, targets, None)
        ctx.save_for_backward(slopes)
        return losses

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None]:
        (slopes,) = ctx.saved_tensors
        return slopes.mul_(upstream[0][:, None].to(slopes.dtype)), None  # in place: it is asked for once, and large


def _blocks(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Positions, their logits, and the weight that made them."""
    used = weight.to(hidden.dtype)
    rows = max(1, _LOGITS // len(weight) // _ROWS) * _ROWS
    for start in range(0, len(hidden), rows):
        part = slice(start, start + rows)
        yield part, nn.functional.linear(hidden[part], used, None if bias is None else bias.to(hidden.dtype)), used


def _losses_and_slopes(logits: Tensor, targets: Tensor, cap: float | None) -> Tensor:
    """Leaves in `logits` how each loss changes with each of them."""
    losses = torch.empty(len(logits), device=logits.device)
    for start in range(0, len(logits), _ROWS):
        part = slice(start, start + _ROWS)
        wanted = targets[part, None]
        shares = logits[part].float()
        bent = None
        if cap is not None:
            shares = shares.div_(cap).tanh_()
            bent = 1 - shares.square()
            shares.mul_(cap)
        peak = shares.amax(-1, keepdim=True)
        right = shares.gather(1, wanted)
        shares.sub_(peak).exp_()
        whole = shares.sum(-1, keepdim=True)
        losses[part] = (whole.log() + peak - right)[:, 0]
        shares.div_(whole).scatter_add_(1, wanted, -torch.ones_like(right))
        logits[part] = shares if bent is None else shares.mul_(bent)
    return losses
