"""Whether contexts are worth having: found by few passes, whatever they begin with, and different for different pasts."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import torch

from kitae.models.newllm.modeling import NewLLMForCausalLM
from kitae.models.newllm.solve import Plan, relative_change

_NEAR = 1e-2  # relative distance under which two contexts of a token count as the same
_STARTS = 3
_SAMPLE = 4096  # tokens whose contexts are compared with each other


@dataclass(frozen=True)
class Health:
    """Each is that of the worst block."""

    converged: float  # share of tokens that one more pass than in training hardly changes
    passes: float  # until all contexts are found, mean over batches
    agreement: float  # share of tokens for which three random starts end alike
    effective_rank: float  # as a share of the width
    distance: float  # between the contexts of any two tokens, relative to their size: 0 where all collapsed into one

    def as_dict(self) -> dict[str, float]:
        return {name: round(value, 5) for name, value in asdict(self).items()}


def health(model: NewLLMForCausalLM, batches: Iterable[torch.Tensor]) -> Health:
    config, inner = model.config, model.model
    settled = Plan(config.solver, config.max_passes, config.tolerance)
    generator = torch.Generator().manual_seed(0)
    converged, passes, agreement, seen = [], [], [], []
    with torch.no_grad():
        for ids in batches:
            with inner.solving(Plan(config.solver, config.passes + 1)) as solutions:
                inner(ids)
                near = [(s.change < _NEAR**2).float().mean() if s.passes > 1 else torch.ones(()) for s in solutions]
                converged.append(float(torch.stack(near).min()))
            with inner.solving(settled) as solutions:
                inner(ids)
                passes.append(math.inf if any(s.unsettled for s in solutions) else max(s.passes for s in solutions))
                found = [s.contexts for s in solutions]
                seen.append([contexts.flatten(0, 1) for contexts in found])
                for _ in range(_STARTS):
                    noise = [c.square().mean().sqrt().cpu() * torch.randn(c.shape, generator=generator) for c in found]
                    inner(ids, guesses=[part.to(ids.device) for part in noise])
                    alike = [relative_change(s.contexts, c) < _NEAR**2 for s, c in zip(solutions, found, strict=True)]
                    agreement.append(min(float(block.float().mean()) for block in alike))
    blocks = [torch.cat(parts)[:_SAMPLE].float().cpu() for parts in zip(*seen, strict=True)]
    return Health(
        sum(converged) / len(converged),
        sum(passes) / len(passes),
        sum(agreement) / len(agreement),
        min(_effective_rank(block) for block in blocks),
        min(_distance(block, generator) for block in blocks),
    )


def _effective_rank(contexts: torch.Tensor) -> float:
    """exp of the entropy of the singular values."""
    values = torch.linalg.svdvals(contexts - contexts.mean(0))
    shares = values / values.sum().clamp(min=1e-12)
    return float(torch.exp(-(shares * shares.clamp(min=1e-12).log()).sum())) / contexts.shape[1]


def _distance(contexts: torch.Tensor, generator: torch.Generator) -> float:
    other = contexts[torch.randperm(len(contexts), generator=generator)]
    return float((contexts - other).norm(dim=-1).mean() / contexts.norm(dim=-1).mean().clamp(min=1e-12))
