"""Training itself: from what was prepared to an adapter or a model in the run's folder."""

from __future__ import annotations

import gc
import math
import shutil
import signal
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, TrainerCallback, TrainingArguments, set_seed

from kitae.core import interruption, processes
from kitae.core.console import console
from kitae.core.errors import Interrupted
from kitae.core.files import staged_folder
from kitae.core.i18n import t
from kitae.models import open_model
from kitae.recipe import Phases, Recipe, Train
from kitae.runs import Run
from kitae.train.attention import allow_strips
from kitae.train.batches import BatchPlan, length
from kitae.train.budget import tokens_at_once
from kitae.train.callbacks import EarlyStop, Recorder, StopWhenAsked
from kitae.train.checkpoints import checkpoints, damaged, damaged_best
from kitae.train.methods import compute_dtype, model_to_train, trainer_of
from kitae.train.prepared import Prepared
from kitae.train.shards import held
from kitae.train.trackers import trackers_in
from kitae.train.trainer import CHOICE, EXACT, LOSS, KitaeTrainer

_CONTEXT_CHECKPOINTS = "checkpoints-contexts"
_SMALL = 1e-3  # the least by which a loss must fall to count as better
_SCHEDULES: dict[str, tuple[str, dict[str, Any]]] = {
    "cosine": ("cosine", {}),
    "restarts": ("cosine_with_restarts", {}),
    "linear": ("linear", {}),
    "constant": ("constant_with_warmup", {}),
    "plateau": ("reduce_lr_on_plateau", {"factor": 0.5, "patience": 0, "threshold": _SMALL, "threshold_mode": "abs"}),
}


def fit(prepared: Prepared, resume: bool = False) -> None:
    """Trains in the phases that the recipe asks for. Each leaves a whole folder, so a resumed run begins with the first
    that hasn't, at its last checkpoint."""
    train, run = prepared.recipe.train, prepared.run
    if train.method == "blend":
        _blend(prepared)
        return
    if train.learning_rate == "auto":
        console.say("  " + t("say.rate", rate=prepared.recipe.peak_learning_rate, why=t(f"rate.{_why(prepared.recipe)}")))
    phases = train.phases if train.method == "newllm" else None
    if phases and phases.epochs and not run.contexts.exists():
        console.say(t("say.phase-contexts"))
        _contexts(prepared, phases, resume)
    if phases:
        if processes.is_first():
            shutil.rmtree(run.path / _CONTEXT_CHECKPOINTS, ignore_errors=True)
        console.say(t("say.phase-tokens"))
    with trackers_in(run.path):
        _tokens(prepared, phases, resume)


def _why(recipe: Recipe) -> str:
    if recipe.model.new:
        return "new"
    if recipe.train.method in ("soft-prompt", "dpo"):
        return recipe.train.method
    return "whole" if recipe.train.whole else "adapter"


def _blend(prepared: Prepared) -> None:
    """No steps: the base is scored, becomes the blend, and is scored again."""
    from kitae.train.blend import blend_into

    run, settings = prepared.run, prepared.recipe.train.blend
    assert settings is not None
    model = open_model(prepared.base, torch.float32)
    allow_strips(model)
    trainer = _trainer(KitaeTrainer, prepared, "tokens", model, prepared.plan, run.checkpoints, [])
    run.record("before", validation_loss=trainer.evaluate()["eval_loss"])
    console.say(t("say.blend", count=len(settings.models), how=settings.how))
    blend_into(model, settings, prepared.recipe.train.seed)
    trainer.state.global_step = 1
    run.record("fitted", best_step=1, best_validation_loss=trainer.evaluate()["eval_loss"])
    if processes.is_first():
        _save(model, prepared)
    processes.wait_for_all()


def _tokens(prepared: Prepared, phases: Phases | None, resume: bool) -> None:
    recipe, run = prepared.recipe, prepared.run
    train, plan = recipe.train, prepared.plan
    set_seed(train.seed)
    if train.shard and processes.count() == 1:
        console.say("  " + t("say.shard-alone"))
    model = model_to_train(prepared)
    remembered = None
    if phases and phases.freeze:
        from kitae.train.contexts import freeze_contexts, remember_contexts

        freeze_contexts(model)
        remembered = remember_contexts(model, phases.remember_mb)
    callbacks = []
    if train.early_stopping is not None:
        wanted = train.early_stopping
        callbacks = [EarlyStop(wanted.patience, wanted.min_delta, _metric(train), wanted.perplexity)]
    trainer = _trainer(trainer_of(prepared), prepared, "tokens", model, plan, run.checkpoints, callbacks)
    start = _start(run.checkpoints, resume)
    run.record("laid-out", rows="side by side" if trainer.padded else "in strips", parameters=held(model))
    run.record("learned", numbers=_learned(model))
    if start is None:
        run.record("before", validation_loss=trainer.evaluate()["eval_loss"])
    _steps(trainer, run, start)
    if remembered is not None:
        remembered.write_index()
        count = remembered.hits + remembered.misses
        run.record("remembered", hits=remembered.hits, count=count)
        console.say("  " + t("say.remembered", hits=remembered.hits, count=count))
    step = trainer.state.best_global_step
    losses = {event["step"]: event["loss"] for event in run.events("validation")}
    run.record("fitted", best_step=step, best_validation_loss=losses.get(step))
    weights = trainer.weights()
    if processes.is_first():
        _save(trainer.model, prepared, weights)  # last, because a run that has an output is taken for trained
    processes.wait_for_all()
    if step in losses:
        console.say("  " + t("say.fitted", loss=f"{losses[step]:.4f}", step=step))
    del trainer, model
    gc.collect()


def _contexts(prepared: Prepared, phases: Phases, resume: bool) -> None:
    from kitae.train.contexts import ContextTrainer, EnoughConverged, add_heads

    train, run = prepared.recipe.train, prepared.run
    set_seed(train.seed)
    model = open_model(prepared.base, torch.float32)
    run.record("learned", numbers=_learned(model))
    add_heads(model, phases.ahead)
    plan = BatchPlan([len(row.ids) for row in prepared.train], train.batch_tokens, phases.epochs, train.seed)
    folder = run.path / _CONTEXT_CHECKPOINTS
    callbacks = [EnoughConverged(phases.patience, _SMALL, phases.converged)]
    kind = partial(ContextTrainer, variety=phases.variety)
    trainer = _trainer(kind, prepared, "contexts", model, plan, folder, callbacks)
    _steps(trainer, run, _start(folder, resume))
    del trainer.model.ahead
    if processes.is_first():
        with staged_folder(run.contexts) as stage:
            trainer.model.save_pretrained(stage)
    processes.wait_for_all()


def _trainer(
    kind: Callable[..., KitaeTrainer],
    prepared: Prepared,
    phase: str,
    model: PreTrainedModel,
    plan: BatchPlan,
    folder: Path,
    callbacks: Sequence[TrainerCallback],
) -> KitaeTrainer:
    train = prepared.recipe.train
    recorder = Recorder(prepared.run, plan, [length(row) for row in prepared.train], phase)
    every = max(1, math.ceil(len(plan) / train.evaluations))
    return kind(
        model,
        _arguments(prepared.recipe, folder, len(plan), every, phase),
        prepared.train,
        prepared.validation,
        plan,
        tokens_at_once(train),
        compute_dtype(train.precision),
        [recorder, *callbacks],
        note_rows=recorder.note_rows,
        exact=phase == "tokens" and _metric(train) == EXACT,
        keep=train.keep_checkpoints,
        shard=train.shard,
    )


def _metric(train: Train) -> str:
    return EXACT if train.early_stopping is not None and train.early_stopping.by == "exact_match" else LOSS


def _start(folder: Path, resume: bool) -> str | None:
    """The last checkpoint that can be read: a disk may lose what was written whole."""
    every = checkpoints(folder) if resume else []
    for _, checkpoint in reversed(every):
        damage = damaged(checkpoint) or damaged_best(checkpoint)
        if damage is None:
            return str(checkpoint)
        console.say("  " + t("say.corrupt-checkpoint", name=checkpoint.name, why=damage))
        if checkpoint == every[0][1]:
            console.say("  " + t("say.from-the-start"))
        processes.wait_for_all()
        if processes.is_first():
            shutil.rmtree(checkpoint)
        processes.wait_for_all()
    return None


def _steps(trainer: KitaeTrainer, run: Run, start: str | None) -> None:
    interruption.check()
    stopper = StopWhenAsked()
    trainer.add_callback(stopper)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        trainer.train(resume_from_checkpoint=start)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if stopper.asked:
        raise Interrupted("interrupted", run=run.id)
    for each in trainer.callback_handler.callbacks:  # a resumption has put others in the place of those it was given
        if isinstance(each, EarlyStop) and each.over and trainer.state.global_step < trainer.args.max_steps:
            run.record("stopped-early", why=each.over)
            console.say("  " + t(f"say.over-{each.over}", count=each.patience))


def _arguments(recipe: Recipe, folder: Path, steps: int, every: int, phase: str) -> TrainingArguments:
    train = recipe.train
    kind, settings = _SCHEDULES[train.schedule]
    metric = _metric(train) if phase == "tokens" else LOSS
    if train.schedule == "restarts":
        settings = {"num_cycles": train.restarts}
    if train.schedule == "plateau" and metric != LOSS:
        settings = {**settings, "mode": "max"}
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        learning_rate=recipe.peak_learning_rate,
        lr_scheduler_type=kind,
        lr_scheduler_kwargs=settings,
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
        metric_for_best_model=metric if metric == LOSS else CHOICE,
        greater_is_better=metric != LOSS,
        restore_callback_states_from_checkpoint=True,
        report_to=train.report_to or "none",
        run_name=folder.parent.name,
        disable_tqdm=True,
        ddp_backend=None if torch.cuda.is_available() or processes.count() == 1 else "gloo",
        log_level="error",
        dataloader_pin_memory=False,
        seed=train.seed,
    )


def _learned(model: PreTrainedModel) -> int:
    return sum(weights.numel() for weights in model.parameters() if weights.requires_grad)


def _save(model: PreTrainedModel, prepared: Prepared, weights: dict[str, torch.Tensor] | None = None) -> None:
    """`weights`: those of a model that doesn't have them all itself."""
    run = prepared.run
    if prepared.recipe.train.whole:
        from kitae.models import open_tokenizer

        with staged_folder(run.path / "model") as stage:
            model.save_pretrained(stage, state_dict=weights)
            tokenizer = open_tokenizer(prepared.base)
            tokenizer.chat_template = prepared.codec.template.source
            tokenizer.save_pretrained(stage)
        return
    with staged_folder(run.path / "adapter") as stage:
        model.save_pretrained(stage)
        (stage / "README.md").unlink(missing_ok=True)  # PEFT's blank model card; ship/ writes a true one
