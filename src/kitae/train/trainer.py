"""`transformers.Trainer`, told what a step is, how it is scored, and how to leave only whole checkpoints behind."""

from __future__ import annotations

import contextlib
import math
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch.distributed.tensor import DTensor
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from kitae.chat import Encoded
from kitae.core import processes
from kitae.core.console import Progress
from kitae.core.errors import KitaeError, first_line
from kitae.core.files import staged_file, staged_folder
from kitae.core.hardware import ran_out_of_memory
from kitae.core.i18n import t
from kitae.train.batches import BatchPlan, EncodedRows, MicroBatch, Part, Step, collate
from kitae.train.checkpoints import PREFIX, checkpoints
from kitae.train.loss import LabelledLoss, trial_batch
from kitae.train.loss_protocol import Loss, RowLoss, Share, row_losses
from kitae.train.random_state import RandomState
from kitae.train.shards import Whole, keep_whole, spread, total_norm, whole_weights

LOSS, EXACT, CHOICE = "eval_loss", "eval_exact", "eval_choice"  # choice: exact answers, and among equals the loss
_TIE = 1e-9
T = TypeVar("T")
_WORSE_THAN_NOTHING = 3
_SHOWN = 8


class KitaeTrainer(Trainer):  # type: ignore[misc]
    scale = 1.0  # of the loss, where it isn't the plain one of labels

    def __init__(
        self,
        model: PreTrainedModel,
        arguments: TrainingArguments,
        rows: Sequence[Encoded],
        validation: Sequence[Encoded],
        plan: BatchPlan,
        micro_batch_tokens: int,
        compute_dtype: torch.dtype,
        callbacks: list[TrainerCallback],
        note_rows: Callable[[int, list[RowLoss]], None] | None = None,
        exact: bool = False,
        keep: int = 1,
        shard: bool = False,
    ) -> None:
        """`note_rows` is told what each row of a step cost. `exact`: whole answers are scored too. `keep`: so many of the last
        checkpoints, beside the best. `shard`: processes share the weights too, and not only the rows."""
        shard = shard and processes.count() > 1
        self._whole = spread(model) if shard else Whole(model)
        self._part = Part(processes.number(), processes.count(), even=shard)
        self._plan = plan
        self._note_rows, self._exact, self._keep = note_rows, exact, keep
        self._held: MicroBatch | None = None  # what is being worked on
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
        processes.first_gives(weights for weights in self._own() if weights.requires_grad)
        with self.autocast():
            self._loss = self._whole(self.make_loss)

    def make_loss(self) -> Loss:
        self.labelled = self.labelled_loss(self.model)
        return self.labelled

    def labelled_loss(self, model: PreTrainedModel) -> LabelledLoss:
        loss = LabelledLoss(model)
        loss.try_strip(trial_batch(self.rows).to(self.args.device))
        return loss

    @property
    def padded(self) -> bool:
        """Rows stand side by side, and don't lie in a strip."""
        return bool(self._loss.padded)

    def get_train_dataloader(self) -> DataLoader[Step]:
        loader: DataLoader[Step] = DataLoader(
            self.train_dataset,
            batch_sampler=self._plan,
            collate_fn=collate(self.micro_batch_tokens, self._loss.padded, self._part),
        )
        return loader

    def training_step(self, model: torch.nn.Module, inputs: Step, num_items_in_batch: Any = None) -> torch.Tensor:
        """Gradients of the mean over the whole step, whatever micro-batches it is cut into."""
        model.train()
        count = processes.summed(torch.tensor(sum(map(self._loss.count, inputs.micro)), device=self.args.device))
        random = RandomState.now()

        def accumulated() -> list[Share]:
            return [self._add_gradient(batch, inputs.tokens, int(count)) for batch in self._cut(inputs.micro)]

        def undo() -> None:
            model.zero_grad()
            random.again()

        found = self._fitting(accumulated, undo)
        rows = processes.gathered([row for share in found for row in row_losses(share)])
        total = processes.summed(torch.stack([share.loss for share in found]).sum())
        self._check(rows, float(total))
        if self._note_rows is not None:
            self._note_rows(self.state.global_step + 1, rows)
        processes.sum_gradients(self._own())
        self._check_gradient(model, rows)
        return total

    def _own(self) -> Iterator[torch.nn.Parameter]:
        """The weights that each process has all of."""
        return (weights for weights in self.model.parameters() if not isinstance(weights, DTensor))

    def _add_gradient(self, batch: MicroBatch, tokens: int, count: int) -> Share:
        """Adds what a micro-batch gives to the step's gradient."""
        with self.autocast():
            losses = self._whole(self._loss, batch.to(self.args.device))
            loss = losses.sum() / count
            if self._loss.added is not None:
                loss = loss + (self._loss.added * batch.real.to(self.args.device)).sum() / tokens
        self.accelerator.backward(loss)
        return Share(batch, losses.detach(), loss.detach())

    def _cut(self, batches: Iterable[MicroBatch]) -> Iterator[MicroBatch]:
        """What was laid out for the memory that there seemed to be, for what there is."""
        for batch in batches:
            for part in batch.within(self.micro_batch_tokens, self._loss.padded):
                self._held = part
                yield part
                self.callback_handler.on_substep_end(self.args, self.state, self.control)

    def _fitting(self, work: Callable[[], T], undo: Callable[[], None] | None = None) -> T:
        """Done again with micro-batches half as large, for as long as memory runs out."""
        while True:
            try:
                return work()
            except Exception as error:
                if not ran_out_of_memory(error):
                    raise
                why = first_line(error)
            # The error is gone, and with it what it held on to.
            if self._part.even:  # the others wait for this process in the middle of a layer
                raise KitaeError("out-of-memory-shared", why=why, tokens=self.micro_batch_tokens)
            if self._held is None or len(self._held.sources) == 1:
                where = "" if self._held is None else self._held.sources[0]
                raise KitaeError("out-of-memory", where=where, why=why)
            self.micro_batch_tokens = self._held.size(self._loss.padded) // 2
            if undo is not None:
                undo()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self.log({"micro_batch_tokens": float(self.micro_batch_tokens)})

    def _check(self, rows: Sequence[RowLoss], total: float) -> None:
        """Stops at a loss that can't be learned from, and says which rows had it."""
        if total < self._hopeless:
            return
        hopeless = [row for row in rows if not row[1] < self._hopeless]
        worst = sorted(hopeless or rows, key=lambda row: (math.isfinite(row[1]), -row[1]))
        why = "\n".join(f"{source}: {loss:.4g}" for source, loss, _ in worst[:_SHOWN])
        step, loss = self.state.global_step + 1, f"{total:.4g}"
        raise KitaeError("loss-exploded" if math.isfinite(total) else "loss-not-finite", step=step, why=why, loss=loss)

    def _check_gradient(self, model: torch.nn.Module, rows: Sequence[RowLoss]) -> None:
        """One that is no number would leave none of the weights a number."""
        if not torch.isfinite(total_norm(model.parameters())):
            why = "\n".join(source for source, _, _ in rows[:_SHOWN])
            raise KitaeError("gradient-not-finite", step=self.state.global_step + 1, why=why)

    @cached_property
    def _hopeless(self) -> float:
        """Far more than it costs to know nothing: the logarithm of how many tokens there are."""
        return _WORSE_THAN_NOTHING * self.scale * math.log(self.model.get_input_embeddings().weight.shape[0])

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        self.model.eval()
        with torch.no_grad():
            metrics = {LOSS: self._fitting(self.score), **self._fitting(self.more_metrics)}
        if EXACT in metrics:
            metrics[CHOICE] = metrics[EXACT] - _TIE * metrics[LOSS]
        self.log(metrics)
        self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def more_metrics(self) -> dict[str, float]:
        if not self._exact:
            return {}
        with self.autocast():
            hits = (hit for batch in self.held_out() for hit in self._whole(self.labelled.exact, batch).tolist())
            return {EXACT: self._mean((float(hit), 1) for hit in hits)}

    def score(self) -> float:
        """The mean loss of the rows that are held out."""
        with self.autocast():
            scored = ((self._whole(self._loss, batch), self._loss.count(batch)) for batch in self.held_out())
            return self._mean((float(losses.sum()), count) for losses, count in scored)

    def held_out(self) -> Iterator[MicroBatch]:
        """This process's share, which is one of rows: how many go at once may become another matter in each process."""
        progress, done = Progress(t("say.scoring"), len(self.validation), patient=True), 0
        for batch in self._part.in_batches(self.validation, self.micro_batch_tokens, self._loss.padded):
            self._held = batch
            yield batch.to(self.args.device)
            done += len(batch.sources) * self._part.count
            progress.update(min(done, len(self.validation)))
        progress.close()

    def _mean(self, found: Iterable[tuple[float, int]]) -> float:
        """Of (sum, count) over all processes."""
        both = torch.zeros(2, dtype=torch.float64, device=self.args.device)
        for pair in found:
            both += torch.tensor(pair).to(both)
        total, count = processes.summed(both).tolist()
        return float(total / max(count, 1.0))

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        enabled = self._compute_dtype != torch.float32
        return torch.autocast(self.args.device.type, dtype=self._compute_dtype, enabled=enabled)

    # The parent would average gradients, which are summed here, and keep a copy of each for that.

    def _wrap_model(self, model: torch.nn.Module, training: bool = True, dataloader: Any = None) -> torch.nn.Module:
        return self._whole

    # The parent would look for tensors and labels where a Step has none, and print what the recorder already shows.

    def floating_point_ops(self, inputs: Step) -> int:
        return 0

    def _get_num_items_in_batch(self, batch_samples: list[Step], device: torch.device) -> None:
        return None

    # A checkpoint has whole weights and moments, whatever part of them a process has.

    def weights(self) -> dict[str, torch.Tensor] | None:
        """What is learned, put together by all processes, if it is spread; None if the model has it."""
        apart = any(isinstance(weights, DTensor) and weights.requires_grad for weights in self.model.parameters())
        return whole_weights(self.model) if apart else None

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        super()._save(output_dir, self.weights())

    def create_optimizer(self, *arguments: Any) -> torch.optim.Optimizer:
        optimizer: torch.optim.Optimizer = super().create_optimizer(*arguments)
        if self._part.even:
            keep_whole(optimizer)
        return optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None) -> Any:
        """A first step at a rate of zero would teach nothing, and of few steps each counts."""
        scheduler: Any = super().create_scheduler(num_training_steps, optimizer)
        warming = self.args.get_warmup_steps(num_training_steps)
        if isinstance(scheduler, LambdaLR):
            scheduler.lr_lambdas = [partial(_warmed, usual, warming) for usual in scheduler.lr_lambdas]
            # Its first rate was set while it was made, with the usual share.
            scheduler._last_lr = [base * share(0) for base, share in zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)]
            for group, rate in zip(scheduler.optimizer.param_groups, scheduler._last_lr, strict=True):
                group["lr"] = rate
        return scheduler

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if not processes.is_first():
            self.optimizer.state_dict()
        super()._save_optimizer_and_scheduler(output_dir)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        for part, name in ((self.optimizer, "optimizer.pt"), (self.lr_scheduler, "scheduler.pt")):
            part.load_state_dict(torch.load(Path(checkpoint) / name, map_location="cpu", weights_only=True))

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
            random = stage / f"rng_state_{processes.number()}.pth"
            own = random.read_bytes() if random.exists() and not processes.is_first() else None
        processes.wait_for_all()
        if own is not None and (folder / name).exists():  # on another machine there may be no such folder
            with staged_file(folder / name / random.name) as file:
                file.write_bytes(own)
        processes.wait_for_all()
        if not processes.is_first():
            return
        every = checkpoints(folder)
        keep = {self.state.best_global_step, *(step for step, _ in every[-self._keep :])}
        for step, old in every:
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


def _warmed(usual: Callable[[int], float], warming: int, step: int) -> float:
    return (step + 1) / (warming + 1) if step < warming else usual(step)
