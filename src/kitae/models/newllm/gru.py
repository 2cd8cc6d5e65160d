"""The classic GRU as a block, to be compared with. It walks through time, in one fused call of torch."""

from __future__ import annotations

import torch
from torch import nn

from kitae.models.newllm.config import NewLLMConfig
from kitae.models.newllm.solve import Solution, SolverPlan
from kitae.models.newllm.terms import State


class GruBlock(nn.Module):
    def __init__(self, config: NewLLMConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.norm = nn.RMSNorm(width, eps=1e-6)
        self.gru = nn.GRU(width, width, batch_first=True)
        self.to_stream = nn.Linear(width, width, bias=False)
        self.dropout = nn.Dropout(config.dropout)

    def start(self, rows: int, device: torch.device) -> State:
        return State(torch.zeros(rows, self.gru.hidden_size, device=device))

    def forward(
        self,
        stream: torch.Tensor,
        state: State,
        plan: SolverPlan,
        real: torch.Tensor | None = None,
        guess: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, Solution]:
        tokens, start = self.norm(stream), state.context.to(stream.dtype)
        if real is None:
            contexts, _ = self.gru(tokens, start[None])
        else:  # what is real is brought to the front; padding then repeats the context before it
            contexts, _ = self.gru(_taken(tokens, (~real[..., 0]).long().argsort(dim=1, stable=True)), start[None])
            last = real[..., 0].cumsum(1) - 1
            contexts = torch.where(last[..., None] < 0, start[:, None], _taken(contexts, last.clamp(min=0)))
        solution = Solution(contexts, State(contexts[:, -1]), contexts, 1, contexts.new_zeros(contexts.shape[:2]))
        return stream + self.to_stream(self.dropout(contexts)), solution


def _taken(rows: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    return rows.gather(1, places[:, :, None].expand_as(rows))
