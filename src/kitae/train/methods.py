"""What each method of training begins with, and which loss it has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import PreTrainedModel

from kitae.core.errors import InputError
from kitae.core.hardware import Precision, computes_in_bf16
from kitae.models import add_lora, add_soft_prompt, open_model, open_tokenizer
from kitae.recipe import Train
from kitae.targets import resolve
from kitae.train.attention import allow_strips
from kitae.train.distillation import DistillationTrainer
from kitae.train.kernels import use_liger
from kitae.train.layer_dropout import drop_layers
from kitae.train.lean import make_lean
from kitae.train.other_models import open_other
from kitae.train.preferences import PreferenceTrainer
from kitae.train.prepared import SOFT_PROMPT_START, Prepared
from kitae.train.trainer import KitaeTrainer


def model_to_train(prepared: Prepared) -> PreTrainedModel:
    model = _model(prepared)
    if prepared.recipe.train.kernels == "liger":
        use_liger(model)
    if prepared.recipe.train.layer_dropout:
        drop_layers(model, prepared.recipe.train.layer_dropout)
    return model


def _model(prepared: Prepared) -> PreTrainedModel:
    train, run = prepared.recipe.train, prepared.run
    if train.whole:  # the weights themselves are trained, so they stay fp32 and only the arithmetic is bf16
        model = open_model(run.contexts if run.contexts.exists() else prepared.base, torch.float32)
        allow_strips(model)
        return model
    if train.method != "soft-prompt":
        return with_lora(prepared.base, train, prepared.codec.vocabulary.control)
    wanted = train.prompt_settings
    model = open_model(prepared.base, compute_dtype(train.precision))
    adapted = add_soft_prompt(model, wanted.kind, wanted.tokens, wanted.text, prepared.base)
    save_file(_learned(adapted), run.path / SOFT_PROMPT_START)
    make_lean(adapted)
    return adapted


def with_lora(base: Path, train: Train, control: Mapping[str, int]) -> PreTrainedModel:
    """`control`: the numbers of the model's control tokens."""
    model = open_model(base, compute_dtype(train.precision), four_bits=train.method == "qlora")
    allow_strips(model)
    lora, dora = train.lora_settings, train.method == "dora"
    tokens = [control[text] for text in lora.tokens]
    adapted = add_lora(model, lora.r, lora.alpha, lora.rslora, lora.dropout, lora.targets, dora, tokens)
    make_lean(adapted)
    return adapted


def trainer_of(prepared: Prepared) -> Callable[..., KitaeTrainer]:
    train = prepared.recipe.train
    if train.method == "dpo":
        return partial(PreferenceTrainer, beta=train.preferences.beta, answers=train.preferences.answers)
    if train.method == "distill" and train.distillation.learn == "logits":
        wanted = train.distillation
        return partial(DistillationTrainer, teacher=_teacher(prepared), share=wanted.share, temperature=wanted.temperature)
    return KitaeTrainer


def compute_dtype(precision: Precision) -> torch.dtype:
    return torch.bfloat16 if computes_in_bf16(precision) else torch.float32


def check_teacher(student: Path, teacher: str) -> None:
    """A distribution over tokens means nothing to a student that calls other texts by the same numbers."""
    folder = resolve(teacher, trained=True).weights().folder
    mine, theirs = (open_tokenizer(each).get_vocab() for each in (student, folder))
    apart = [text for text, number in mine.items() if theirs.get(text) != number]
    if apart:
        raise InputError("teacher-vocabulary", where=str(folder), why=f"{len(apart)} / {len(mine)}: {apart[:3]}")


def _teacher(prepared: Prepared) -> PreTrainedModel:
    train = prepared.recipe.train
    teacher = open_other(train.distillation.teacher, compute_dtype(train.precision))
    allow_strips(teacher)
    return teacher.eval()


def _learned(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    from peft import get_peft_model_state_dict

    return {name: tensor.contiguous() for name, tensor in get_peft_model_state_dict(model).items()}
