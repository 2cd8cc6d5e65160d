"""Finding the contexts of a whole sequence.

What a block carries from token to token follows from terms that are computed from the context before it and the token.
Walking through time is exact and slow. All other solvers guess the contexts before every token, compute the terms of all
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

import torch

from kitae.models.newllm.config import SOLVERS
from kitae.models.newllm.terms import Diagonal, State, Terms

_PROBES = 2
_STEEPEST = 1.0  # slopes above it make errors grow from token to token, until there is no number for them
TermsOf = Callable[[torch.Tensor, slice], Terms]  # the terms of some tokens, given the contexts before them


@dataclass(frozen=True)
class SolverPlan:
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
    end: State  # behind the last token
    hidden: torch.Tensor  # of the feed-forward layers in the last pass
    passes: int
    change: torch.Tensor  # of each token's context in the last pass: squared, relative, [batch, time]
    unsettled: bool = False  # the passes were given up, and time was walked


def solve(terms: TermsOf, time: int, start: State, plan: SolverPlan, guess: torch.Tensor | None = None) -> Solution:
    """`guess`: contexts to begin with, [batch, time, width]; without it they are taken for zero."""
    if plan.solver == "sequential" or time == 1:
        return _walk(terms, time, start)
    found = _refine(terms, time, start, plan, guess)
    settled = found.contexts.isfinite().all() and (plan.tolerance is None or _within(found.change, plan.tolerance))
    return found if settled else replace(_walk(terms, time, start), passes=found.passes, unsettled=True)


def _refine(terms: TermsOf, time: int, start: State, plan: SolverPlan, guess: torch.Tensor | None) -> Solution:
    batch, width = start.context.shape
    contexts = start.context.new_zeros(batch, time, width) if guess is None else guess
    for number in range(1, plan.passes + 1):
        known = torch.cat([start.context[:, None], contexts[:, :-1]], dim=1)
        found = terms(known, slice(None))
        # A slope taken at contexts that are all zero would lead Newton astray.
        solver = "gate-scan" if plan.solver == "newton" and number == 1 else plan.solver
        solved, end = _pass(solver, terms, found, known, start)
        change = relative_change(contexts, solved)
        contexts = solved
        if plan.tolerance is not None and _within(change, plan.tolerance):
            break
    return Solution(contexts, end, found.hidden, number, change)


def relative_change(old: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    """Squared, so that a gradient can flow through it also where nothing changed."""
    size = new.detach().square().sum(-1).clamp(min=1e-12)
    return (new - old).square().sum(-1) / size


def _within(change: torch.Tensor, tolerance: float) -> bool:
    return bool((change < tolerance**2).all())


def _walk(terms: TermsOf, time: int, start: State) -> Solution:
    state, contexts, hidden = start, [], []
    for number in range(time):
        found = terms(state.context[:, None], slice(number, number + 1))
        after, state = found.carry(state)
        contexts.append(after)
        hidden.append(found.hidden)
    whole = torch.cat(contexts, dim=1)
    return Solution(whole, state, torch.cat(hidden, dim=1), 1, whole.new_zeros(whole.shape[:2]))


def _pass(solver: str, terms: TermsOf, found: Terms, known: torch.Tensor, start: State) -> tuple[torch.Tensor, State]:
    if not isinstance(found, Diagonal):  # a matrix: the config allows it no other solver
        return found.carry(start)
    if solver == "jacobi":
        contexts = torch.addcmul(found.b, found.a, known)
        return contexts, State(contexts[:, -1])
    slope = found.a if solver == "gate-scan" else found.a + _rest_of_slope(terms, found, known)
    bounded = slope.clamp(-_STEEPEST, _STEEPEST)
    # f(known) + slope · (c - known); where the slope is the gate itself, this is b.
    return Diagonal(bounded, found.b + (found.a - bounded) * known, found.hidden).carry(start)


def _rest_of_slope(terms: TermsOf, found: Diagonal, known: torch.Tensor) -> torch.Tensor:
    """What the diagonal of ∂c_t/∂c_{t-1} has beside the gate: the mean of v · (J v) over random signs v."""

    def without_gate(before: torch.Tensor) -> torch.Tensor:
        new = terms(before, slice(None))
        assert isinstance(new, Diagonal)
        return new.a * known.detach() + new.b

    total = torch.zeros_like(known)
    generator = torch.Generator(known.device).manual_seed(0)
    with torch.no_grad():
        for _ in range(_PROBES):
            signs = torch.randint(0, 2, known.shape, generator=generator, device=known.device).to(known.dtype) * 2 - 1
            total += signs * torch.func.jvp(without_gate, (known.detach(),), (signs,))[1]
    return total / _PROBES
