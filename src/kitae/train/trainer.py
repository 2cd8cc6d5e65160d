"""`transformers.Trainer`, told what a step is, how it is scored, and how to leave only whole checkpoints behind."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import torch
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from kitae import processes
from kitae.chat import Encoded
from kitae.errors import KitaeError
from kitae.files import staged_folder
from kitae.train.batches import EncodedRows, MicroBatch, Plan, Step, collate, in_batches
from kitae.train.loss import LabelledLoss, trial_batch

PREFIX = "checkpoint-"


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
        """Summed over what `count` counts."""
        ...

    def count(self, batch: MicroBatch) -> int: ...


class KitaeTrainer(Trainer):  # type: ignore[misc]
    def __init__(
        self,
        model: PreTrainedModel,
        arguments: TrainingArguments,
        rows: Sequence[Encoded],
        validation: Sequence[Encoded],
        plan: Plan,
        micro_batch_tokens: int,
        compute_dtype: torch.dtype,
        callbacks: list[TrainerCallback],
    ) -> None:
        self._plan = plan
        self.rows, self.validation = rows, validation
        self.micro_batch_tokens = micro_batch_tokens
        self._compute_dtype = compute_dtype
        self._stage: Path | None = None
        super().__init__(
            model=model,
            args=arguments,
            train_dataset=EncodedRows(rows),
            eval_dataset=EncodedRows(validation),
            callbacks=callbacks,
        )
        self.remove_callback(PrinterCallback)
        with self.autocast():
            self._loss = self.make_loss()

    def make_loss(self) -> Loss:
        return self.labelled_loss(self.model)

    def labelled_loss(self, model: PreTrainedModel) -> LabelledLoss:
        loss = LabelledLoss(model)
        loss.try_strip(trial_batch(self.rows).to(self.args.device))
        return loss

    def get_train_dataloader(self) -> DataLoader[Step]:
        loader: DataLoader[Step] = DataLoader(
            self.train_dataset,
            batch_sampler=self._plan,
            collate_fn=collate(self.micro_batch_tokens, self._loss.padded, processes.number(), processes.count()),
        )
        return loader

    def training_step(self, model: torch.nn.Module, inputs: Step, num_items_in_batch: Any = None) -> torch.Tensor:
        """Gradients of the mean over the whole step, whatever micro-batches it is cut into."""
        model.train()
        total = torch.zeros((), device=self.args.device)
        count = processes.summed(torch.tensor(sum(map(self._loss.count, inputs.micro)), device=self.args.device))
        for batch in inputs.micro:
            with self.autocast():
                loss = self._loss(batch.to(self.args.device)) / count
                if self._loss.added is not None:
                    loss = loss + (self._loss.added * batch.real.to(self.args.device)).sum() / inputs.tokens
            if not torch.isfinite(loss):
                raise KitaeError("loss-not-finite", step=self.state.global_step + 1, why="\n".join(inputs.rows[:8]))
            self.accelerator.backward(loss)
            total += loss.detach()
        processes.sum_gradients(model.parameters())
        return processes.summed(total)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        self.model.eval()
        batches = in_batches(self.validation, self.micro_batch_tokens, self._loss.padded)
        metrics = {"eval_loss": self.score(batches), **self.more_metrics()}
        self.log(metrics)
        self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def more_metrics(self) -> dict[str, float]:
        return {}

    def score(self, batches: Iterator[MicroBatch]) -> float:
        """The mean loss."""
        found = torch.zeros(2, dtype=torch.float64, device=self.args.device)  # loss, count
        with torch.no_grad(), self.autocast():
            for batch in islice(batches, processes.number(), None, processes.count()):
                found += torch.tensor([float(self._loss(batch.to(self.args.device))), self._loss.count(batch)]).to(found)
        total, count = processes.summed(found).tolist()
        return float(total / max(count, 1.0))

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        enabled = self._compute_dtype != torch.float32
        return torch.autocast(self.args.device.type, dtype=self._compute_dtype, enabled=enabled)

    # The parent would look for tensors and labels where a Step has none, and print what the recorder already shows.

    def floating_point_ops(self, inputs: Step) -> int:
        return 0

    def _get_num_items_in_batch(self, batch_samples: list[Step], device: torch.device) -> None:
        return None

    # A checkpoint is written beside and renamed, so a folder with a checkpoint's name is always a whole one.

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._stage or self.args.output_dir)

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        folder = Path(self.args.output_dir)
        name = f"{PREFIX}{self.state.global_step}"
        with self._staged(folder / name) as stage:
            self._stage = stage
            try:
                super()._save_checkpoint(model, trial)
            finally:
                self._stage = None
            for file in (stage / name).iterdir():
                file.replace(stage / file.name)
            (stage / name).rmdir()
            best = self.state.best_global_step
            self.state.best_model_checkpoint = str(folder / f"{PREFIX}{best}") if best else None
            self.state.save_to_json(str(stage / "trainer_state.json"))
        processes.wait_for_all()
        if not processes.is_first():
            return
        keep = {self.state.global_step, self.state.best_global_step}
        for step, old in checkpoints(folder):
            if step not in keep:
                shutil.rmtree(old)

    @contextlib.contextmanager
    def _staged(self, folder: Path) -> Iterator[Path]:
        """The parent's saving waits for all processes within it, so each has to go through it; one result is kept."""
        if processes.is_first():
            with staged_folder(folder) as stage:
                yield stage
        else:
            with tempfile.TemporaryDirectory() as scratch:
                yield Path(scratch)


def checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """Whole checkpoints, oldest first."""
    if not folder.exists():
        return []
    found = [(int(p.name[len(PREFIX) :]), p) for p in folder.glob(f"{PREFIX}*") if p.name[len(PREFIX) :].isdigit()]
    return sorted(found)
