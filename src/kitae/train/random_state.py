"""What has to be put back before a step is done again, and how much memory is held."""

from __future__ import annotations

from dataclasses import dataclass

import psutil
import torch


@dataclass(frozen=True)
class RandomState:
    """So that what is done again draws the same numbers."""

    cpu: torch.Tensor
    gpus: list[torch.Tensor]

    @staticmethod
    def now() -> RandomState:
        return RandomState(torch.get_rng_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [])

    def again(self) -> None:
        torch.set_rng_state(self.cpu)
        if self.gpus:
            torch.cuda.set_rng_state_all(self.gpus)


def held_mb() -> dict[str, int]:
    """By this process now, and on the GPU, if there is one, at most so far."""
    held = {"memory_mb": psutil.Process().memory_info().rss // 2**20}
    if torch.cuda.is_available():
        held["gpu_mb"] = torch.cuda.max_memory_reserved() // 2**20
    return held
