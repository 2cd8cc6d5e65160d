"""What each label costs, block by block: no more than some megabytes of logits exist at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch
from torch import nn

Tensor = torch.Tensor

_LOGITS = 1 << 25  # bytes at once; allocators return larger blocks to the system after each use, and get them zeroed again
_ROWS = 64  # in fp32 at once
_CACHED = 1 << 19  # numbers that stay near a CPU's core while they are worked on


class Score(Protocol):
    """What positions cost, by their logits."""

    def __call__(self, logits: Tensor, part: slice) -> Tensor:
        """Of some positions; leaves in `logits` how each loss changes with each of them."""
        ...


def head_losses(hidden: Tensor, head: nn.Linear, score: Score) -> Tensor:
    """What each position costs under `head(hidden)`, in fp32."""
    kind = hidden.device.type
    filled = filled_up(hidden.to(compute_type(head.weight)))
    with torch.autocast(kind, enabled=False):
        found: Tensor = _HeadLosses.apply(filled, head.weight, head.bias, score)  # type: ignore[no-untyped-call]
    return found[: len(hidden)]


def logit_losses(logits: Tensor, score: Score) -> Tensor:
    """The same of logits that a model made itself."""
    found: Tensor = _LogitLosses.apply(filled_up(logits), score)  # type: ignore[no-untyped-call]
    return found[: len(logits)]


class Labels:
    """The negative log-likelihood of targets, with logits that are soft-capped at `cap`."""

    def __init__(self, targets: Tensor, cap: float | None) -> None:
        self._targets, self._cap = filled_up(targets), cap

    def __call__(self, logits: Tensor, part: slice) -> Tensor:
        losses = torch.empty(len(logits), device=logits.device)
        for rows, places in _few(part, logits):
            wanted = self._targets[places, None]
            shares, bent = _bent(logits[rows].float(), self._cap)
            losses[rows] = _likelihoods(shares, wanted)
            logits[rows] = shares if bent is None else shares.mul_(bent)
        return losses


class Taught:
    """Beside that, how far a teacher's distribution is from the model's: share * temperature² * KL(teacher || model) of both at
    that temperature, and the likelihood of the targets for the rest. The teacher may know fewer tokens, or some more."""

    def __init__(
        self, targets: Tensor, cap: float | None, teacher: Callable[[slice], Tensor], share: float, temperature: float
    ) -> None:
        self._targets, self._cap, self._teacher = filled_up(targets), cap, teacher
        self._share, self._temperature = share, temperature

    def __call__(self, logits: Tensor, part: slice) -> Tensor:
        losses = torch.empty(len(logits), device=logits.device)
        for rows, places in _few(part, logits, _ROWS):  # for each of which the teacher's head is read
            own, bent = _bent(logits[rows].float(), self._cap)
            taught = self._teacher(places).float()
            known = min(own.shape[1], taught.shape[1])
            wanted = (taught[:, :known] / self._temperature).log_softmax(-1)
            found = (own / self._temperature).log_softmax(-1)
            apart = (wanted.exp() * (wanted - found[:, :known])).sum(-1)
            slopes = found.exp_()
            slopes[:, :known] -= wanted.exp_()
            likelihoods = _likelihoods(own, self._targets[places, None])
            losses[rows] = self._share * self._temperature**2 * apart + (1 - self._share) * likelihoods
            slopes.mul_(self._share * self._temperature).add_(own, alpha=1 - self._share)
            logits[rows] = slopes if bent is None else slopes.mul_(bent)
        return losses


def teacher_logits(hidden: Tensor, head: nn.Linear, cap: float | None) -> Callable[[slice], Tensor]:
    """Made when they are asked for, so that there are never many."""
    hidden = filled_up(hidden.to(compute_type(head.weight)))
    weight, bias = head.weight.to(hidden.dtype), None if head.bias is None else head.bias.to(hidden.dtype)

    def made(part: slice) -> Tensor:
        return _bent(nn.functional.linear(hidden[part], weight, bias).float(), cap)[0]

    return made


def some(count: int) -> Iterator[slice]:
    """Positions, as many at a time as are worth a call."""
    return (slice(start, start + _ROWS) for start in range(0, count, _ROWS))


class _HeadLosses(torch.autograd.Function):
    """Beside a frozen head the slopes are made together with the losses. One that learns needs its own as well, which depend
    on how much each label counts, so its products are made again when that is known."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, score: Score) -> Tensor:
        learns = ctx.needs_input_grad[1] or ctx.needs_input_grad[2]
        slopes = torch.empty_like(hidden) if ctx.needs_input_grad[0] and not learns else None
        losses = torch.empty(len(hidden), device=hidden.device)
        for part, logits, used in _blocks(hidden, weight, bias):
            losses[part] = score(logits, part)
            if slopes is not None:
                torch.mm(logits, used, out=slopes[part])
        ctx.score = score
        if learns:
            ctx.save_for_backward(hidden, weight, bias)
        else:
            ctx.save_for_backward(slopes)
        return losses

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        if len(ctx.saved_tensors) == 1:
            (slopes,) = ctx.saved_tensors
            return slopes * upstream[0][:, None].to(slopes.dtype), None, None, None
        hidden, weight, bias = ctx.saved_tensors
        of_hidden, of_weight = torch.empty_like(hidden), torch.zeros_like(weight)
        of_bias = None if bias is None else torch.zeros_like(bias)
        for part, logits, used in _blocks(hidden, weight, bias):
            ctx.score(logits, part)
            logits.mul_(upstream[0][part, None].to(logits.dtype))
            torch.mm(logits, used, out=of_hidden[part])
            of_weight += (logits.T @ hidden[part]).to(weight.dtype)
            if of_bias is not None:
                of_bias += logits.sum(0).to(of_bias.dtype)
        return of_hidden, of_weight, of_bias, None


class _LogitLosses(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, score: Score) -> Tensor:
        slopes = logits.clone()
        losses = score(slopes, slice(0, len(slopes)))
        ctx.save_for_backward(slopes)
        return losses

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None]:
        (slopes,) = ctx.saved_tensors
        return slopes.mul_(upstream[0][:, None].to(slopes.dtype)), None  # in place: it is asked for once, and large


def compute_type(weights: Tensor) -> torch.dtype:
    """In which products with them are made."""
    kind = weights.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weights.dtype


def filled_up(positions: Tensor) -> Tensor:
    """Up to one of few sizes, because libraries prepare, and keep, a program for each."""
    return nn.functional.pad(positions, (*([0, 0] * (positions.ndim - 1)), 0, -len(positions) % _ROWS))


def _blocks(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Positions, their logits, and the weight that made them."""
    used = weight.to(hidden.dtype)
    rows = max(1, _LOGITS // hidden.element_size() // len(weight) // _ROWS) * _ROWS
    for start in range(0, len(hidden), rows):
        part = slice(start, start + rows)
        yield part, nn.functional.linear(hidden[part], used, None if bias is None else bias.to(hidden.dtype)), used


def _few(part: slice, logits: Tensor, rows: int | None = None) -> Iterator[tuple[slice, slice]]:
    """Rows of a block, and which positions they are, as many as may be fp32 at once."""
    count, known = logits.shape
    if rows is None:
        rows = max(1, min(_ROWS, _CACHED // known)) if logits.device.type == "cpu" else _ROWS
    for start in range(0, count, rows):
        end = min(count, start + rows)
        yield slice(start, end), slice(part.start + start, part.start + end)


def _bent(logits: Tensor, cap: float | None) -> tuple[Tensor, Tensor | None]:
    """Soft-capped, in place; and how much each still moves with what it was."""
    if cap is None:
        return logits, None
    logits = logits.div_(cap).tanh_()
    bent = 1 - logits.square()
    return logits.mul_(cap), bent


def _likelihoods(logits: Tensor, wanted: Tensor) -> Tensor:
    """The negative logarithms of the targets' shares; leaves the slopes in `logits`."""
    peak = logits.amax(-1, keepdim=True)
    right = logits.gather(1, wanted)
    logits.sub_(peak).exp_()
    whole = logits.sum(-1, keepdim=True)
    logits.div_(whole).scatter_add_(1, wanted, -torch.ones_like(right))
    return (whole.log() + peak - right)[:, 0]
