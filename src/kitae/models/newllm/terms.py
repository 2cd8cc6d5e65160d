"""What a cell computes for each token, and how the state is carried through it: linear, hence solved for all tokens at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch

from kitae.models.newllm.delta import delta_scan
from kitae.models.newllm.scan import linear_scan


class State(NamedTuple):
    """Behind a token. All that the next token needs, whatever came before."""

    context: torch.Tensor  # what the layers see, [batch, width]
    memory: torch.Tensor | None = None  # a matrix that they see a reading of, [batch, heads, keys, values]

    def each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> State:
        return State(change(self.context), None if self.memory is None else change(self.memory))

    def to(self, device: torch.device) -> State:
        return self.each(lambda part: part.to(device))


class Terms(Protocol):
    @property
    def hidden(self) -> torch.Tensor:
        """Of the feed-forward layers, for what the block gives to those after it."""
        ...

    def carry(self, start: State) -> tuple[torch.Tensor, State]:
        """The contexts after all tokens, and the state behind the last."""
        ...

    def only(self, real: torch.Tensor) -> Terms:
        """The same, but tokens that are not real leave the state as it is. `real`: [batch, time, 1]."""
        ...


@dataclass(frozen=True)
class Diagonal:
    """c_t = a_t · c_{t-1} + b_t, each channel by itself."""

    a: torch.Tensor
    b: torch.Tensor
    hidden: torch.Tensor

    def carry(self, start: State) -> tuple[torch.Tensor, State]:
        contexts = linear_scan(self.a, self.b, start.context)
        return contexts, State(contexts[:, -1])

    def only(self, real: torch.Tensor) -> Diagonal:
        return Diagonal(torch.where(real, self.a, 1.0), torch.where(real, self.b, 0.0), self.hidden)


@dataclass(frozen=True)
class Delta:
    """S_t = α_t · S_{t-1} (1 - β_t k_t k_tᵀ) + β_t v_t k_tᵀ for each head, and its reading c_t = S_t q_t.

    `query`, `key`, `value`: [batch, heads, time, width]; `keep` = log α and `write` = β: [batch, heads, time].
    """

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    keep: torch.Tensor
    write: torch.Tensor
    hidden: torch.Tensor
    real: torch.Tensor | None = None

    def carry(self, start: State) -> tuple[torch.Tensor, State]:
        assert start.memory is not None
        with torch.autocast(self.query.device.type, enabled=False):  # it would round the products
            readings, memory = delta_scan(self.query, self.key, self.value, self.keep, self.write, start.memory)
        contexts = readings.transpose(1, 2).flatten(2)
        if self.real is not None:  # the reading of the last real token stands
            places = torch.arange(1, contexts.shape[1] + 1, device=contexts.device)[:, None]
            last = torch.where(self.real, places, 0).cummax(dim=1).values
            before = torch.cat([start.context[:, None], contexts], dim=1)
            contexts = before.gather(1, last.expand(-1, -1, contexts.shape[2]))
        return contexts, State(contexts[:, -1], memory)

    def only(self, real: torch.Tensor) -> Delta:
        kept = real[:, None, :, 0]
        keep, write = torch.where(kept, self.keep, 0.0), torch.where(kept, self.write, 0.0)
        return Delta(self.query, self.key, self.value, keep, write, self.hidden, real)
