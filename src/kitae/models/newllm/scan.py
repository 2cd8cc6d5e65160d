"""c_t = a_t · c_{t-1} + b_t for all t at once.

Time is cut into pieces that are walked side by side, then the pieces are joined: about 2·√T steps instead of T, and no
division, so slopes of zero and a memory of thousands of tokens lose nothing.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn.functional import pad


class LinearScan(torch.autograd.Function):
    """Its gradient is the same recurrence run backwards, so nothing but the result is kept."""

    @staticmethod
    def forward(ctx: Any, a: torch.Tensor, b: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
        states = _scan(a, b, start)
        ctx.save_for_backward(a, states, start)
        return states

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        a, states, start = ctx.saved_tensors
        # λ_t = g_t + a_{t+1} λ_{t+1}
        following = pad(a[:, 1:], (0, 0, 0, 1)).flip(1)
        carried = _scan(following, upstream[0].flip(1), torch.zeros_like(start)).flip(1)
        before = torch.cat([start[:, None], states[:, :-1]], dim=1)
        return carried * before, carried, a[:, 0] * carried[:, 0]


def linear_scan(a: torch.Tensor, b: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """`a`, `b`: [batch, time, width]; `start`: [batch, width]. Gives all c, [batch, time, width]."""
    if b.shape[1] == 1:
        return torch.addcmul(b, a, start[:, None])
    states: torch.Tensor = LinearScan.apply(a, b, start)  # type: ignore[no-untyped-call]
    return states


def _scan(a: torch.Tensor, b: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    batch, time, width = b.shape
    length = max(1, math.isqrt(time))
    pieces = -(-time // length)
    missing = pieces * length - time
    if missing:
        a, b = pad(a, (0, 0, 0, missing)), pad(b, (0, 0, 0, missing))
    a, b = a.reshape(batch, pieces, length, width), b.reshape(batch, pieces, length, width)
    # Within every piece, as if it began with nothing: what it adds, and how much of what came before it keeps.
    inner = torch.empty_like(b)
    decay = torch.empty_like(a)
    inner[:, :, 0], decay[:, :, 0] = b[:, :, 0], a[:, :, 0]
    for i in range(1, length):
        torch.addcmul(b[:, :, i], a[:, :, i], inner[:, :, i - 1], out=inner[:, :, i])
        torch.mul(a[:, :, i], decay[:, :, i - 1], out=decay[:, :, i])
    before = torch.empty(batch, pieces, width, dtype=b.dtype, device=b.device)
    state = start
    for piece in range(pieces):
        before[:, piece] = state
        state = torch.addcmul(inner[:, piece, -1], decay[:, piece, -1], state)
    return inner.addcmul_(decay, before[:, :, None]).reshape(batch, pieces * length, width)[:, :time]
