"""Finding the contexts of a whole sequence.

A context depends on the one before it, c_t = a_t · c_{t-1} + b_t, where a and b are computed from c_{t-1} and the token.
Walking through time is exact and slow. All other solvers guess the contexts before every token, compute a and b for all
tokens at once, and solve what remains, which is linear; each such pass brings the guess nearer to what a walk would give.
They differ in the slope they take from one context to the next:

- `jacobi`      none: a pass carries news one token further;
- `gate-scan`   the gate a: a pass carries news over the whole sequence;
- `newton`      the diagonal of the whole slope, estimated with random probes, after one pass of the gate's own.

Where passes don't settle, or end in something that is no number, time is walked after all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch

from kitae.models.newllm.config import SOLVERS
from kitae.models.newllm.scan import linear_scan

_PROBES = 2
_STEEPEST = 1.0  # slopes above it make errors grow from token to token, until there is no number for them


class Terms(NamedTuple):
    """What a cell computes from the contexts before each token."""

    a: torch.Tensor
    b: torch.Tensor
    reading: torch.Tensor  # for the blocks after it


@dataclass(frozen=True)
class Plan:
    """`tolerance` None: exactly `passes` passes, so that every step of training costs the same."""

    solver: str = "gate-scan"
    passes: int = 3
    tolerance: float | None = None

    def __post_init__(self) -> None:
        if self.solver not in SOLVERS:
            raise ValueError(f"solver: {self.solver!r} (known: {', '.join(SOLVERS)})")


@dataclass(frozen=True)
class Solution:
    contexts: torch.Tensor  # after each token, [batch, time, width]
    reading: torch.Tensor  # what the last pass says to the blocks after it
    passes: int
    change: torch.Tensor  # of each token's context in the last pass, relative, [batch, time]
    unsettled: bool = False  # the passes were given up, and time was walked


def solve(
    terms: Callable[[torch.Tensor, slice], Terms],
    shape: tuple[int, int, int],
    start: torch.Tensor,
    plan: Plan,
) -> Solution:
    """`terms(before, times)`: the terms of some tokens, given the contexts before them."""
    if plan.solver == "sequential" or shape[1] == 1:
        return _walk(terms, shape, start)
    found = _refine(terms, shape, start, plan)
    settled = found.contexts.isfinite().all() and (plan.tolerance is None or (found.change < plan.tolerance).all())
    return found if settled else replace(_walk(terms, shape, start), passes=found.passes, unsettled=True)


def _refine(
    terms: Callable[[torch.Tensor, slice], Terms],
    shape: tuple[int, int, int],
    start: torch.Tensor,
    plan: Plan,
) -> Solution:
    contexts = start.new_zeros(shape)
    for number in range(1, plan.passes + 1):
        known = torch.cat([start[:, None], contexts[:, :-1]], dim=1)
        found = terms(known, slice(None))
        # A slope taken at contexts that are all zero would lead Newton astray.
        solver = "gate-scan" if plan.solver == "newton" and number == 1 else plan.solver
        solved = _pass(solver, terms, found, known, start)
        change = relative_change(contexts, solved)
        contexts = solved
        if plan.tolerance is not None and bool((change < plan.tolerance).all()):
            break
    return Solution(contexts, found.reading, number, change)


def relative_change(old: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        size: torch.Tensor = torch.linalg.vector_norm(new, dim=-1)
        difference: torch.Tensor = torch.linalg.vector_norm(new - old, dim=-1)
        return difference / size.clamp(min=1e-6)


def _walk(terms: Callable[[torch.Tensor, slice], Terms], shape: tuple[int, int, int], start: torch.Tensor) -> Solution:
    state, contexts, readings = start, [], []
    for time in range(shape[1]):
        found = terms(state[:, None], slice(time, time + 1))
        state = torch.addcmul(found.b[:, 0], found.a[:, 0], state)
        contexts.append(state)
        readings.append(found.reading)
    return Solution(torch.stack(contexts, dim=1), torch.cat(readings, dim=1), 1, start.new_zeros(shape[:2]))


def _pass(
    solver: str, terms: Callable[[torch.Tensor, slice], Terms], found: Terms, known: torch.Tensor, start: torch.Tensor
) -> torch.Tensor:
    if solver == "jacobi":
        return torch.addcmul(found.b, found.a, known)
    slope = found.a
    if solver == "newton":
        slope = slope + _rest_of_slope(terms, found, known)
    bounded = slope.clamp(-_STEEPEST, _STEEPEST)
    # f(known) + slope · (c - known); where the slope is the gate itself, this is b.
    return linear_scan(bounded, found.b + (found.a - bounded) * known, start)


def _rest_of_slope(terms: Callable[[torch.Tensor, slice], Terms], found: Terms, known: torch.Tensor) -> torch.Tensor:
    """What the diagonal of ∂c_t/∂c_{t-1} has beside the gate: the mean of v · (J v) over random signs v."""

    def without_gate(before: torch.Tensor) -> torch.Tensor:
        new = terms(before, slice(None))
        return new.a * known.detach() + new.b

    total = torch.zeros_like(known)
    generator = torch.Generator(known.device).manual_seed(0)
    with torch.no_grad():
        for _ in range(_PROBES):
            signs = torch.randint(0, 2, known.shape, generator=generator, device=known.device).to(known.dtype) * 2 - 1
            total += signs * torch.func.jvp(without_gate, (known.detach(),), (signs,))[1]
    return total / _PROBES
