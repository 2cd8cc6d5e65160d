"""Direct preference optimisation: the better of two answers becomes likelier than the worse one, compared with how likely the
untrained model found both."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from kitae.train.batches import MicroBatch, in_batches
from kitae.train.loss import LabelledLoss, still
from kitae.train.trainer import KitaeTrainer

Key = tuple[int, ...]


class PreferenceLoss:
    """Of batches in which the worse answer follows the better one: -log sigmoid(beta * how much further apart they are now),
    and what a token of the better one costs."""

    added: torch.Tensor | None = None

    def __init__(self, labelled: LabelledLoss, beta: float, answers: float) -> None:
        self._labelled = labelled
        self._beta, self._answers = beta, answers
        self._reference: dict[Key, float] = {}
        self.margins: list[float] = []  # of the pairs that were only scored
        self.padded = labelled.padded

    def count(self, batch: MicroBatch) -> int:
        return int((batch.lengths > 0).sum()) // 2

    def remember(self, batch: MicroBatch) -> None:
        """How likely the model finds these answers now is what they are compared with from now on."""
        found = (-self._labelled(batch)).tolist()
        self._reference |= dict(zip(_keys(batch), found, strict=True))

    def __call__(self, batch: MicroBatch) -> torch.Tensor:
        found = -self._labelled(batch)
        if not self.count(batch):  # the stand-in of a process that has no row of a step
            return found[0::2] * 0.0
        gained = found - torch.tensor([self._reference[key] for key in _keys(batch)], device=found.device)
        margins = gained[0::2] - gained[1::2]
        if not margins.requires_grad:
            self.margins += margins.tolist()
        better = -found[0::2] / batch.labels_of_rows[0::2]
        return self._answers * better - functional.logsigmoid(self._beta * margins)


class PreferenceTrainer(KitaeTrainer):
    scale = 10.0  # a pair costs as much as its answers are long

    def __init__(self, *arguments: Any, beta: float, answers: float, **more: Any) -> None:
        self._beta, self._answers = beta, answers
        super().__init__(*arguments, **more)

    def make_loss(self) -> PreferenceLoss:
        """The reference is the model as it begins, also in a run that is resumed: its checkpoint is read later. It is asked in
        an order of its own, so that a resumed run compares with the very same numbers."""
        self._preferences = loss = PreferenceLoss(self.labelled_loss(self.model), self._beta, self._answers)
        with still(self.model):
            for rows in (self.rows, self.validation):
                for batch in in_batches(rows, self.micro_batch_tokens, loss.padded):
                    loss.remember(batch.to(self.args.device))
        return loss

    def score(self) -> float:
        self._preferences.margins.clear()
        return super().score()

    def more_metrics(self) -> dict[str, float]:
        margins = self._preferences.margins
        return {
            "eval_preferred": self._mean((float(margin > 0) + float(margin == 0) / 2, 1) for margin in margins),
            "eval_margin": self._beta * self._mean((margin, 1) for margin in margins),
        }


def _keys(batch: MicroBatch) -> list[Key]:
    return [tuple(ids[:length]) for ids, length in zip(batch.input_ids.tolist(), batch.lengths.tolist(), strict=True)]
