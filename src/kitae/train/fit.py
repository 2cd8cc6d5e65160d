"""Training itself: from what was prepared to an adapter or a model in the run's folder."""

from __future__ import annotations

import gc
import math
import signal
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, TrainerCallback, TrainingArguments, set_seed

from kitae.console import console
from kitae.errors import EXIT_INTERRUPTED, KitaeError
from kitae.files import staged_folder
from kitae.i18n import t
from kitae.models import add_lora, open_model
from kitae.recipe import Recipe
from kitae.train.callbacks import EarlyStop, Recorder, StopWhenAsked
from kitae.train.prepare import Prepared
from kitae.train.trainer import KitaeTrainer, checkpoints

# Under this length the plain attention of a CPU beats its fused one, whose backward pass is slow (docs/benchmarks.md).
_SHORT = 256


class Interrupted(KitaeError):
    exit_code = EXIT_INTERRUPTED


def fit(prepared: Prepared, resume: bool = False) -> None:
    recipe, run = prepared.recipe, prepared.run
    train = recipe.train
    set_seed(train.seed)
    compute = compute_dtype(train.precision)
    lengths = [len(row.ids) for row in prepared.train]
    model = _model(prepared, compute, lengths)
    plan = prepared.plan
    every = max(1, math.ceil(len(plan) / train.evaluations))
    stopper = StopWhenAsked()
    callbacks: list[TrainerCallback] = [Recorder(run, plan, lengths), stopper]
    if train.early_stopping is not None:
        callbacks.append(EarlyStop(train.early_stopping.patience, train.early_stopping.min_delta))
    trainer = KitaeTrainer(
        model,
        _arguments(recipe, run.checkpoints, len(plan), every),
        prepared.train,
        prepared.validation,
        plan,
        train.micro_batch_tokens,
        compute,
        callbacks,
    )
    last = checkpoints(run.checkpoints)
    start = str(last[-1][1]) if resume and last else None
    if start is None:
        before = trainer.evaluate()["eval_loss"]
        run.record("before", validation_loss=before)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        trainer.train(resume_from_checkpoint=start)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if stopper.asked:
        raise Interrupted("interrupted", run=run.id)
    best = trainer.state.best_metric
    run.record("fitted", best_step=trainer.state.best_global_step, best_validation_loss=best)
    _save(trainer.model, prepared)  # last, because a run that has an output is taken for trained
    if best is not None:
        console.say("  " + t("say.fitted", loss=f"{best:.4f}", step=trainer.state.best_global_step))
    del trainer, model
    gc.collect()


def compute_dtype(precision: str) -> torch.dtype:
    """bf16 where the hardware multiplies it faster, else fp32."""
    if precision == "fp32":
        return torch.float32
    if precision == "bf16":
        return torch.bfloat16
    if torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if torch.backends.mps.is_available():
        return torch.float32
    cpu: Any = torch.cpu
    fast = cpu._is_avx512_bf16_supported() or cpu._is_amx_tile_supported()
    return torch.bfloat16 if fast else torch.float32


def _model(prepared: Prepared, compute: torch.dtype, lengths: list[int]) -> PreTrainedModel:
    train = prepared.recipe.train
    short = not torch.cuda.is_available() and sorted(lengths)[len(lengths) * 95 // 100] <= _SHORT
    attention = "eager" if short else None  # None: the best that the model has
    if train.method == "full":  # the weights themselves are trained, so they stay fp32 and only the arithmetic is bf16
        return open_model(prepared.base, torch.float32, attention)
    lora = train.lora_settings
    model = open_model(prepared.base, compute, attention)
    return add_lora(model, lora.r, lora.alpha, lora.rslora, lora.dropout, lora.targets)


def _arguments(recipe: Recipe, folder: Path, steps: int, every: int) -> TrainingArguments:
    train = recipe.train
    schedules = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        learning_rate=recipe.peak_learning_rate,
        lr_scheduler_type=schedules[train.schedule],
        warmup_steps=math.ceil(steps * train.warmup),
        weight_decay=train.weight_decay,
        max_grad_norm=train.max_grad_norm,
        logging_steps=1,
        logging_nan_inf_filter=False,
        eval_strategy="steps",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        restore_callback_states_from_checkpoint=True,
        report_to="none",
        disable_tqdm=True,
        log_level="error",
        dataloader_pin_memory=False,
        seed=train.seed,
    )


def _save(model: PreTrainedModel, prepared: Prepared) -> None:
    run = prepared.run
    if prepared.recipe.train.method == "full":
        from kitae.models import open_tokenizer

        with staged_folder(run.path / "model") as stage:
            model.save_pretrained(stage)
            tokenizer = open_tokenizer(prepared.base)
            tokenizer.chat_template = prepared.codec.template.source
            tokenizer.save_pretrained(stage)
        return
    with staged_folder(run.path / "adapter") as stage:
        model.save_pretrained(stage)
        (stage / "README.md").unlink(missing_ok=True)  # PEFT's blank model card; ship/ writes a true one
