"""What the trainer asks of any loss, and what one gives to a step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch

from kitae.train.batches import MicroBatch

RowLoss = tuple[str, float, int]  # where a row comes from, what each of its labels cost on average, how many it has


class Loss(Protocol):
    @property
    def padded(self) -> bool:
        """Whether it takes rows side by side, with their padding."""
        ...

    @property
    def added(self) -> torch.Tensor | None:
        """What the model itself adds to the loss of each token of the last batch."""
        ...

    def __call__(self, batch: MicroBatch) -> torch.Tensor:
        """Of each row, or of each pair of rows; summed over what `count` counts."""
        ...

    def count(self, batch: MicroBatch) -> int: ...


@dataclass(frozen=True)
class Share:
    """What a micro-batch has given to a step."""

    batch: MicroBatch
    losses: torch.Tensor  # of its rows
    loss: torch.Tensor  # its part of the step's


def row_losses(share: Share) -> Iterator[RowLoss]:
    """Of a pair the loss is one, whatever its answers' length."""
    batch, losses = share.batch, share.losses
    each = len(batch.lengths) // len(batch.sources)
    counts = (batch.labels_of_rows if each == 1 else (batch.lengths[::each] > 0).int()).tolist()
    for source, loss, count in zip(batch.sources, losses.tolist(), counts, strict=True):
        if count:
            yield source, loss / count, count
