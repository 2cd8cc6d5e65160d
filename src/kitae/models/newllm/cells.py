"""How a block computes the next context from the one before and the token, and what it gives to the blocks after it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from kitae.models.newllm.config import NewLLMConfig
from kitae.models.newllm.solve import Terms

_EPSILON = 0.25  # contexts smaller than its root reach the feed-forward layers shrunken, not blown up to unit size
_FIRST_GAIN = 0.2  # how strongly contexts bear on the gates at first; small enough for parallel passes to converge


class Cell(nn.Module, ABC):
    """u = FFN([x_t ; c_{t-1}]), from which follow the terms of c_t = a · c_{t-1} + b.

    What the token contributes to the first layer doesn't change from pass to pass, so it is computed once (`prepare`).
    Contexts, and the terms they follow from, are fp32 in any model: half precision can't tell a gate near 1 from 1.
    """

    feedback = True  # whether the context is seen by the layers; where it isn't, one pass finds all contexts

    def __init__(self, config: NewLLMConfig, layers: int, outputs: int) -> None:
        super().__init__()
        width, context = config.hidden_size, config.context_size
        self.context_size = context
        self.from_token = nn.Linear(width, width)
        if self.feedback:
            self.from_context = nn.Linear(context, width, bias=False)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(layers - 1))
        self.heads = nn.Linear(width, outputs * context)

    def prepare(self, stream: torch.Tensor) -> torch.Tensor:
        tokens: torch.Tensor = self.from_token(self.token_input(stream))
        return tokens

    def terms(self, tokens: torch.Tensor, before: torch.Tensor) -> Terms:
        if self.feedback:
            tokens = tokens + self.from_context(self.context_input(before).to(tokens.dtype))
        hidden = functional.silu(tokens)
        for layer in self.layers:
            hidden = functional.silu(layer(hidden))
        return self.update(hidden, self.heads(hidden).float(), before)

    def token_input(self, stream: torch.Tensor) -> torch.Tensor:
        return stream

    def context_input(self, before: torch.Tensor) -> torch.Tensor:
        return before

    def first_values(self) -> dict[str, torch.Tensor]:
        """Parameters that begin with something other than random numbers."""
        return {}

    @abstractmethod
    def update(self, hidden: torch.Tensor, heads: torch.Tensor, before: torch.Tensor) -> Terms:
        """The terms, from what the last layer and the heads on it say."""

    @abstractmethod
    def output(self, stream: torch.Tensor, reading: torch.Tensor, contexts: torch.Tensor) -> torch.Tensor:
        """The stream that the next block sees."""


class _Improved(Cell):
    """A pre-norm residual stream. Contexts are scaled on their way into the layers, but never where they are carried."""

    def __init__(self, config: NewLLMConfig, layers: int, outputs: int) -> None:
        super().__init__(config, layers, outputs)
        self.norm = nn.RMSNorm(config.hidden_size, eps=1e-6)
        if self.feedback:
            self.gain = nn.Parameter(torch.empty(()))
        self.forget = nn.Parameter(torch.empty(config.context_size))
        self.to_stream = nn.Linear(config.context_size, config.hidden_size, bias=False)
        self._longest = config.longest_memory

    def token_input(self, stream: torch.Tensor) -> torch.Tensor:
        normed: torch.Tensor = self.norm(stream)
        return normed

    def context_input(self, before: torch.Tensor) -> torch.Tensor:
        return self.gain * scaled(before)

    def first_values(self) -> dict[str, torch.Tensor]:
        """Gates forget after 1 token, after `longest_memory` tokens, and evenly between on a log scale."""
        memory = torch.logspace(0, math.log10(self._longest), self.context_size)
        forget = {"forget": (1 - 1 / (memory + 1)).logit()}
        return forget | ({"gain": torch.tensor(_FIRST_GAIN)} if self.feedback else {})


class GatedCell(_Improved):
    """c = a · c + (1 - a) · tanh δ"""

    def __init__(self, config: NewLLMConfig, layers: int) -> None:
        super().__init__(config, layers, outputs=3)

    def update(self, hidden: torch.Tensor, heads: torch.Tensor, before: torch.Tensor) -> Terms:
        gate, candidate, reading = heads.chunk(3, dim=-1)
        a = torch.sigmoid(gate + self.forget)
        return Terms(a, (1 - a) * torch.tanh(candidate), reading)

    def output(self, stream: torch.Tensor, reading: torch.Tensor, contexts: torch.Tensor) -> torch.Tensor:
        read: torch.Tensor = self.to_stream((functional.silu(reading) * scaled(contexts)).to(stream.dtype))
        return stream + read


class ResidualCell(_Improved):
    """c = (1 - η) · c + η · Δc, x = x + Δx"""

    def __init__(self, config: NewLLMConfig, layers: int) -> None:
        super().__init__(config, layers, outputs=2)

    def update(self, hidden: torch.Tensor, heads: torch.Tensor, before: torch.Tensor) -> Terms:
        change, reading = heads.chunk(2, dim=-1)
        a = torch.sigmoid(self.forget.float()).expand_as(change)
        return Terms(a, (1 - a) * change, reading)

    def output(self, stream: torch.Tensor, reading: torch.Tensor, contexts: torch.Tensor) -> torch.Tensor:
        change: torch.Tensor = self.to_stream(reading.to(stream.dtype))
        return stream + change


class MinGruCell(_Improved):
    """c = a · c + (1 - a) · h, where a and h know the token alone: solved in one pass, and blind to what is carried."""

    feedback = False

    def __init__(self, config: NewLLMConfig, layers: int) -> None:
        super().__init__(config, layers, outputs=2)

    def update(self, hidden: torch.Tensor, heads: torch.Tensor, before: torch.Tensor) -> Terms:
        gate, candidate = heads.chunk(2, dim=-1)
        a = torch.sigmoid(gate + self.forget)
        return Terms(a, (1 - a) * candidate, hidden)

    def output(self, stream: torch.Tensor, reading: torch.Tensor, contexts: torch.Tensor) -> torch.Tensor:
        change: torch.Tensor = self.to_stream(contexts.to(stream.dtype))
        return stream + change


class _Seed(Cell):
    """The original definition: a layer norm on the carried context, none on the stream."""

    def __init__(self, config: NewLLMConfig, layers: int, outputs: int) -> None:
        super().__init__(config, layers, outputs)
        self.carried_norm = nn.LayerNorm(config.context_size)

    def normed(self, kept: torch.Tensor, added: torch.Tensor, before: torch.Tensor, hidden: torch.Tensor) -> Terms:
        """LayerNorm(kept · c + added) as terms: with the mean and deviation it has at `before`, the norm is linear."""
        raw = kept * before + added
        mean = raw.mean(-1, keepdim=True)
        scale = self.carried_norm.weight * torch.rsqrt(raw.var(-1, keepdim=True, unbiased=False) + self.carried_norm.eps)
        return Terms(kept * scale, (added - mean) * scale + self.carried_norm.bias, hidden)


class SeedGatedCell(_Seed):
    def __init__(self, config: NewLLMConfig, layers: int) -> None:
        super().__init__(config, layers, outputs=3)

    def update(self, hidden: torch.Tensor, heads: torch.Tensor, before: torch.Tensor) -> Terms:
        forget, enter, candidate = heads.chunk(3, dim=-1)
        return self.normed(torch.sigmoid(forget), torch.sigmoid(enter) * torch.tanh(candidate), before, hidden)

    def output(self, stream: torch.Tensor, reading: torch.Tensor, contexts: torch.Tensor) -> torch.Tensor:
        return reading


class SeedResidualCell(_Seed):
    def __init__(self, config: NewLLMConfig, layers: int) -> None:
        super().__init__(config, layers, outputs=1)
        self.to_stream = nn.Linear(config.hidden_size, config.hidden_size)

    def update(self, hidden: torch.Tensor, heads: torch.Tensor, before: torch.Tensor) -> Terms:
        return self.normed(torch.ones_like(heads), heads, before, hidden)

    def output(self, stream: torch.Tensor, reading: torch.Tensor, contexts: torch.Tensor) -> torch.Tensor:
        change: torch.Tensor = self.to_stream(reading)
        return stream + change


def scaled(contexts: torch.Tensor) -> torch.Tensor:
    """To unit size where they are large; small ones stay small, so that noise is not made loud."""
    return contexts * torch.rsqrt(contexts.square().mean(-1, keepdim=True) + _EPSILON)


_CELLS: dict[str, Callable[[NewLLMConfig, int], Cell]] = {
    "gated": GatedCell,
    "residual": ResidualCell,
    "mingru": MinGruCell,
    "seed-gated": SeedGatedCell,
    "seed-residual": SeedResidualCell,
}


def make_cell(config: NewLLMConfig, layers: int) -> Cell:
    return _CELLS[config.cell](config, layers)
