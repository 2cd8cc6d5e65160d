"""What happens around the steps: events, progress, early stopping, a clean stop when asked."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from kitae.core import interruption, processes
from kitae.core.console import Progress, console
from kitae.core.files import append_json
from kitae.core.i18n import t
from kitae.runs import Run
from kitae.train.batches import BatchPlan
from kitae.train.loss_protocol import RowLoss
from kitae.train.random_state import held_mb
from kitae.train.trainer import CHOICE, LOSS

_SCORED = {"tokens": "validation", "contexts": "contexts"}  # the event in which held-out rows were scored


class Recorder(TrainerCallback):  # type: ignore[misc]
    """Writes every step and every validation to the run's events, and shows a progress line."""

    def __init__(self, run: Run, plan: BatchPlan, lengths: list[int], phase: str) -> None:
        self._run = run
        self._phase = phase
        self._tokens = [sum(lengths[i] for i in step) for step in plan.steps]
        self._progress = Progress(t("say.training"), len(plan))
        self._rows = run.path / "row-losses.jsonl"
        self._began = time.monotonic()
        self._seen = 0
        self._note = ""
        self._stepping = self._step_seconds = self._step_began = 0.0
        self._earlier = max((float(step["seconds"]) for step in run.events("step")), default=0.0)  # before a resumption

    def note_rows(self, step: int, rows: Sequence[RowLoss]) -> None:
        """What each row cost in a step; one that stays dear is worth a look."""
        if not self._run.silent:
            costs = [[source, round(loss, 4), count] for source, loss, count in rows]
            append_json(self._rows, {"phase": self._phase, "step": step, "rows": costs})

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._began = time.monotonic()

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._step_began = time.monotonic()

    def on_substep_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """A step may take a minute."""
        self._progress.update(state.global_step, self._note)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._step_seconds = time.monotonic() - self._step_began
        self._stepping += self._step_seconds

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        logs = logs or {}
        if "eval_loss" in logs:
            found = {name.removeprefix("eval_"): value for name, value in logs.items() if name.startswith("eval_")}
            found.pop(CHOICE.removeprefix("eval_"), None)
            self._run.record(_SCORED[self._phase], step=state.global_step, **found)
            more = "".join(f" · {name} {found[name]:.1%}" for name in ("exact", "preferred") if name in found)
            console.say("  " + t("say.validation", step=state.global_step, loss=f"{logs['eval_loss']:.4f}{more}"))
        elif "loss" in logs:
            self._seen += self._tokens[state.global_step - 1]
            seconds = time.monotonic() - self._began
            speed = self._seen / max(self._stepping, 1e-6)  # of training alone: validation and saving are not in it
            held = held_mb()
            self._run.record(
                "step",
                phase=self._phase,
                step=state.global_step,
                loss=logs["loss"],
                learning_rate=logs.get("learning_rate"),
                grad_norm=logs.get("grad_norm"),
                tokens_per_second=round(speed, 1),
                **held,
                step_seconds=round(self._step_seconds, 4),
                seconds=round(self._earlier + seconds, 1),
            )
            memory = " + ".join(f"{megabytes / 1024:.1f}" for megabytes in held.values())
            self._note = t("say.step", loss=f"{logs['loss']:.4f}", speed=round(speed), memory=memory)
            self._progress.update(state.global_step, self._note)
        elif "micro_batch_tokens" in logs:
            self._run.record("halved", step=state.global_step + 1, micro_batch_tokens=int(logs["micro_batch_tokens"]))
            console.say("\n  " + t("say.out-of-memory", step=state.global_step + 1, tokens=int(logs["micro_batch_tokens"])))

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._progress.close()


class EarlyStop(TrainerCallback, ExportableState):  # type: ignore[misc]
    """Stops when the validation loss, or the share of exact answers, has not improved by `min_delta` for `patience`
    validations; and when the perplexity is low enough."""

    def __init__(self, patience: int, min_delta: float, metric: str = LOSS, perplexity: float | None = None) -> None:
        self.patience = patience
        self.min_delta = min_delta
        self.metric = metric
        self.perplexity = perplexity
        self.best = float("inf")
        self.waited = 0
        self.over = ""  # or why it is

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        control.should_training_stop = bool(self.over)  # killed after it was, but before the result was saved

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        metrics = metrics or {}
        value = metrics[self.metric] if self.metric == LOSS else -metrics[self.metric]
        if value < self.best - self.min_delta:
            self.best, self.waited = value, 0
        else:
            self.waited += 1
        if self.perplexity is not None and state.global_step and math.exp(metrics[LOSS]) <= self.perplexity:
            self.over = "perplexity"  # not before a step is taken, which would leave weights that were never scored
        elif self.waited >= self.patience and self.may_stop(metrics):
            self.over = "patience"
        control.should_training_stop = control.should_training_stop or bool(self.over)

    def may_stop(self, metrics: dict[str, float]) -> bool:
        return True

    def state(self) -> dict[str, Any]:
        return {
            "args": {name: getattr(self, name) for name in ("patience", "min_delta", "metric", "perplexity")},
            "attributes": {"best": self.best, "waited": self.waited, "over": self.over},
        }


class StopWhenAsked(TrainerCallback):  # type: ignore[misc]
    """Ctrl-C and SIGTERM finish the step, save, and end the run as interrupted. A second Ctrl-C ends it at once."""

    def __init__(self) -> None:
        self.asked = False

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)
        interruption.check()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        console.say("\n  " + t("say.stopping"))
        signal.signal(signal.SIGINT, signal.default_int_handler)
        interruption.overhear_sigterm()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if processes.summed(torch.tensor(int(self.asked), device=args.device)):  # all stop, or none
            self.asked = True
            control.should_save = True
            control.should_training_stop = True
