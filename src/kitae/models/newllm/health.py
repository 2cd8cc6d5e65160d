"""Whether contexts are worth having: found by few passes, whatever they begin with, and different for different pasts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import torch

from kitae.models.newllm.modeling import NewLLMForCausalLM
from kitae.models.newllm.solve import SolverPlan, relative_change

_NEAR = 1e-2  # relative distance under which two contexts of a token count as the same
_STARTS = 3
_SAMPLE = 4096  # tokens whose contexts are compared with each other


@dataclass(frozen=True)
class Health:
    """Each is that of the worst block."""

    converged: float  # share of tokens that one more pass than in training hardly changes
    passes: float  # until all contexts are found, mean over batches; all that are allowed where they never are
    agreement: float  # share of tokens for which three random starts end alike
    effective_rank: float  # as a share of the width
    distance: float  # between the contexts of any two tokens, relative to their size: 0 where all collapsed into one

    def as_dict(self) -> dict[str, float]:
        return {name: round(value, 5) for name, value in asdict(self).items()}


def health(model: NewLLMForCausalLM, batches: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> Health:
    """`batches`: token ids, and which of them are no padding."""
    config, inner = model.config, model.model
    settled = SolverPlan(config.solver, config.max_passes, config.tolerance)
    generator = torch.Generator().manual_seed(0)
    converged: list[list[torch.Tensor]] = []  # of each batch, of each block: which tokens are
    agreement: list[list[torch.Tensor]] = []
    seen: list[list[torch.Tensor]] = []
    passes = []
    with torch.no_grad():
        for ids, real in batches:
            with inner.solving(SolverPlan(config.solver, config.passes + 1)) as solutions:
                inner(ids, real)
                converged.append([(s.change < _NEAR**2)[real] | (s.passes == 1) for s in solutions])
            with inner.solving(settled) as solutions:
                inner(ids, real)
                passes.append(max(s.passes for s in solutions))
                found = [s.contexts for s in solutions]
                seen.append([contexts[real].float().cpu() for contexts in found])
                for _ in range(_STARTS):
                    noise = [c.square().mean().sqrt().cpu() * torch.randn(c.shape, generator=generator) for c in found]
                    inner(ids, real, guesses=[part.to(ids.device) for part in noise])
                    alike = [relative_change(s.contexts, c) < _NEAR**2 for s, c in zip(solutions, found, strict=True)]
                    agreement.append([block[real] for block in alike])
    blocks = [torch.cat(parts) for parts in zip(*seen, strict=True)]
    chosen = _shuffled(len(blocks[0]))[:_SAMPLE]
    return Health(
        _share(converged),
        sum(passes) / len(passes),
        _share(agreement),
        min(_effective_rank(block[chosen]) for block in blocks),
        min(_distance(block[chosen]) for block in blocks),
    )


def _share(batches: list[list[torch.Tensor]]) -> float:
    return min(float(torch.cat(parts).float().mean()) for parts in zip(*batches, strict=True))


def _effective_rank(contexts: torch.Tensor) -> float:
    """exp of the entropy of the singular values."""
    values = torch.linalg.svdvals(contexts - contexts.mean(0))
    shares = values / values.sum().clamp(min=1e-12)
    return float(torch.exp(-(shares * shares.clamp(min=1e-12).log()).sum())) / contexts.shape[1]


def _distance(contexts: torch.Tensor) -> float:
    other = contexts[_shuffled(len(contexts))]
    return float((contexts - other).norm(dim=-1).mean() / contexts.norm(dim=-1).mean().clamp(min=1e-12))


def _shuffled(count: int) -> torch.Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))
