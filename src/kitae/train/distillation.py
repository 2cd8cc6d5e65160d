"""Learning from all that a teacher would say next, and not from one answer alone."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel

from kitae.train.batches import MicroBatch
from kitae.train.head import Taught
from kitae.train.loss import LabelledLoss, still
from kitae.train.trainer import KitaeTrainer


class TaughtLoss:
    """Of labels, as a teacher sees them: see `Taught`."""

    def __init__(self, student: LabelledLoss, teacher: LabelledLoss, share: float, temperature: float) -> None:
        self._student, self._teacher = student, teacher
        self._share, self._temperature = share, temperature
        self.padded = student.padded or teacher.padded
        student.padded = teacher.padded = self.padded

    @property
    def added(self) -> torch.Tensor | None:
        return self._student.added

    def count(self, batch: MicroBatch) -> int:
        return batch.labelled

    def __call__(self, batch: MicroBatch) -> torch.Tensor:
        with still(self._teacher.model):
            told = self._teacher.logits(batch)
        self._student.score = lambda targets, cap: Taught(targets, cap, told, self._share, self._temperature)
        return self._student(batch)


class DistillationTrainer(KitaeTrainer):
    def __init__(self, *arguments: Any, teacher: PreTrainedModel, share: float, temperature: float, **more: Any) -> None:
        self._teacher, self._share, self._temperature = teacher, share, temperature
        self.scale = max(1.0, temperature**2)
        super().__init__(*arguments, **more)

    def make_loss(self) -> TaughtLoss:
        teacher = self._teacher.to(self.args.device).requires_grad_(False)
        self.labelled = self.labelled_loss(self.model)
        return TaughtLoss(self.labelled, self.labelled_loss(teacher), self._share, self._temperature)
