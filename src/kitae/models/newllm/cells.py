"""How a block computes the next context from the one before and the token, and what it gives to the blocks after it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from kitae.models.newllm.config import NewLLMConfig
from kitae.models.newllm.terms import Delta, Diagonal, State, Terms

_EPSILON = 0.25  # contexts smaller than its root reach the feed-forward layers shrunken, not blown up to unit size
_FIRST_GAIN = 0.2  # how strongly contexts bear on the gates at first; small enough for parallel passes to converge


class Cell(nn.Module, ABC):
    """u = FFN([x_t ; c_{t-1}]), from which follow the terms by which the state is carried on.

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
        self.heads = nn.Linear(width, outputs)

    def start(self, rows: int, device: torch.device) -> State:
        return State(torch.zeros(rows, self.context_size, device=device))

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
    def output(self, stream: torch.Tensor, hidden: torch.Tensor, contexts: torch.Tensor) -> torch.Tensor:
        """The stream that the next block sees."""


class _Improved(Cell):
    """A pre-norm residual stream. Contexts are scaled on their way into the layers, but never where they are carried."""

    def __init__(self, config: NewLLMConfig, layers: int, outputs: int, gates: int) -> None:
        """`gates`: how many time-scales there are."""
        super().__init__(config, layers, outputs)
        self.norm = nn.RMSNorm(config.hidden_size, eps=1e-6)
        if self.feedback:
            self.gain = nn.Parameter(torch.empty(()))
        self.forget = nn.Parameter(torch.empty(gates))
        self._longest = config.longest_memory

    def token_input(self, stream: torch.Tensor) -> torch.Tensor:
        normed: torch.Tensor = self.norm(stream)
        return normed

    def context_input(self, before: torch.Tensor) -> torch.Tensor:
        return self.gain * scaled(before)

    def first_values(self) -> dict[str, torch.Tensor]:
        """Gates forget after 1 token, after `longest_memory` tokens, and evenly between on a log scale."""
        memory = torch.logspace(0, math.log10(self._longest), len(self.forget))
        forget = {"forget": (1 - 1 / (memory + 1)).logit()}
        return forget | ({"gain": torch.tensor(_FIRST_GAIN)} if self.feedback else {})


class _Reading(_Improved):
    """x = x + W (silu(r) · N(c)): what is read from the context depends on the token."""

    def __init__(self, config: NewLLMConfig, layers: int, outputs: int, gates: int) -> None:
        super().__init__(config, layers, outputs, gates)
        self.reading = nn.Linear(config.hidden_size, config.context_size)
        self.to_stream = nn.Linear(config.context_size, config.hidden_size, bias=False)

    def output(self, stream: torch.Tensor, hidden: torch.Tensor, contexts: torch.Tensor) -> torch.Tensor:
        read = functional.silu(self.reading(hidden)) * scaled(contexts).to(stream.dtype)
        change: torch.Tensor = self.to_stream(read)
        return stream + change


class GatedCell(_Reading):
    """c = a · c + (1 - a) · tanh δ"""

    def __init__(self, config: NewLLMConfig, layers: int) -> None:
        super().__init__(config, layers, 2 * config.context_size, config.context_size)

    def update(self, hidden: torch.Tensor, heads: torch.Tensor, before: torch.Tensor) -> Terms:
        gate, candidate = heads.chunk(2, dim=-1)
        a = torch.sigmoid(gate + self.forget)
        return Diagonal(a, (1 - a) * torch.tanh(candidate), hidden)


class MatrixCell(_Reading):
    """A matrix for each head, in which a token writes a value at a key and reads at a query; the context is what it read.

    Writing with 1 < β < 2 turns what lay at a key into its opposite, which a memory that is only linear needs to count parity.
    """

    def __init__(self, config: NewLLMConfig, layers: int) -> None:
        super().__init__(config, layers, 3 * config.context_size + 2 * config.heads, config.heads)
        self._heads = config.heads

    def start(self, rows: int, device: torch.device) -> State:
        each = self.context_size // self._heads
        memory = torch.zeros(rows, self._heads, each, each, device=device)
        return State(torch.zeros(rows, self.context_size, device=device), memory)

    def update(self, hidden: torch.Tensor, heads: torch.Tensor, before: torch.Tensor) -> Terms:
        width, gates = self.context_size, self._heads
        query, key, value, keep, write = torch.split(heads, [width, width, width, gates, gates], dim=-1)
        query, key, value = (part.reshape(*part.shape[:2], gates, -1).transpose(1, 2) for part in (query, key, value))
        keep = functional.logsigmoid(keep + self.forget).transpose(1, 2)
        write = 2 * torch.sigmoid(write).transpose(1, 2)
        return Delta(functional.normalize(query, dim=-1), functional.normalize(key, dim=-1), value, keep, write, hidden)


class ResidualCell(_Improved):
    """c = (1 - η) · c + η · Δc, x = x + Δx"""

    def __init__(self, config: NewLLMConfig, layers: int) -> None:
        super().__init__(config, layers, config.context_size, config.context_size)
        self.to_stream = nn.Linear(config.hidden_size, config.hidden_size, bias=False)

    def update(self, hidden: torch.Tensor, heads: torch.Tensor, before: torch.Tensor) -> Terms:
        a = torch.sigmoid(self.forget.float()).expand_as(heads)
        return Diagonal(a, (1 - a) * heads, hidden)

    def output(self, stream: torch.Tensor, hidden: torch.Tensor, contexts: torch.Tensor) -> torch.Tensor:
        change: torch.Tensor = self.to_stream(hidden)
        return stream + change


class MinGruCell(_Improved):
    """c = a · c + (1 - a) · h, where a and h know the token alone: solved in one pass, and blind to what is carried."""

    feedback = False

    def __init__(self, config: NewLLMConfig, layers: int) -> None:
        super().__init__(config, layers, 2 * config.context_size, config.context_size)
        self.to_stream = nn.Linear(config.context_size, config.hidden_size, bias=False)

    def update(self, hidden: torch.Tensor, heads: torch.Tensor, before: torch.Tensor) -> Terms:
        gate, candidate = heads.chunk(2, dim=-1)
        a = torch.sigmoid(gate + self.forget)
        return Diagonal(a, (1 - a) * candidate, hidden)

    def output(self, stream: torch.Tensor, hidden: torch.Tensor, contexts: torch.Tensor) -> torch.Tensor:
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
        return Diagonal(kept * scale, (added - mean) * scale + self.carried_norm.bias, hidden)


class SeedGatedCell(_Seed):
    def __init__(self, config: NewLLMConfig, layers: int) -> None:
        super().__init__(config, layers, 3 * config.context_size)

    def update(self, hidden: torch.Tensor, heads: torch.Tensor, before: torch.Tensor) -> Terms:
        forget, enter, candidate = heads.chunk(3, dim=-1)
        return self.normed(torch.sigmoid(forget), torch.sigmoid(enter) * torch.tanh(candidate), before, hidden)

    def output(self, stream: torch.Tensor, hidden: torch.Tensor, contexts: torch.Tensor) -> torch.Tensor:
        return hidden


class SeedResidualCell(_Seed):
    def __init__(self, config: NewLLMConfig, layers: int) -> None:
        super().__init__(config, layers, config.context_size)
        self.to_stream = nn.Linear(config.hidden_size, config.hidden_size)

    def update(self, hidden: torch.Tensor, heads: torch.Tensor, before: torch.Tensor) -> Terms:
        return self.normed(torch.ones_like(heads), heads, before, hidden)

    def output(self, stream: torch.Tensor, hidden: torch.Tensor, contexts: torch.Tensor) -> torch.Tensor:
        change: torch.Tensor = self.to_stream(hidden)
        return stream + change


def scaled(contexts: torch.Tensor) -> torch.Tensor:
    """To unit size where they are large; small ones stay small, so that noise is not made loud."""
    return contexts * torch.rsqrt(contexts.square().mean(-1, keepdim=True) + _EPSILON)


_CELLS: dict[str, Callable[[NewLLMConfig, int], Cell]] = {
    "gated": GatedCell,
    "matrix": MatrixCell,
    "residual": ResidualCell,
    "mingru": MinGruCell,
    "seed-gated": SeedGatedCell,
    "seed-residual": SeedResidualCell,
}


def make_cell(config: NewLLMConfig, layers: int) -> Cell:
    return _CELLS[config.cell](config, layers)
