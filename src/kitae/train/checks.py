"""What a recipe names that has to be there: packages, a template, tokens and matrices; looked for before anything is loaded."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from kitae.chat import ChatTemplate
from kitae.core.errors import InputError
from kitae.core.files import read_text
from kitae.core.hardware import has_gpu
from kitae.models import locate, locate_tokenizer
from kitae.recipe import Recipe, Train

_PACKAGES = {"tensorboard": ("tensorboard", "tensorboardX")}  # of trackers, where they are called otherwise


def find_packages(train: Train) -> None:
    for tracker in train.report_to:
        _find(f"train.report_to: {tracker}", *_PACKAGES.get(tracker, (tracker,)))
    if train.method == "qlora":
        _find("train.method: qlora", "bitsandbytes")
    if train.kernels == "liger":
        if not has_gpu():
            raise InputError("kernels-gpu", where="train.kernels: liger")
        _find("train.kernels: liger", "liger_kernel")


def find_base(recipe: Recipe) -> Path:
    """The folder of the model to be trained; of a new one, that of its tokenizer."""
    new = recipe.model.new
    return locate(recipe.model.source) if new is None else locate_tokenizer(new.tokenizer)


def check_template(recipe: Recipe) -> None:
    if recipe.model.chat_template:
        ChatTemplate(read_text(Path(recipe.model.chat_template)), {}, recipe.model.chat_template)


def names_parts(recipe: Recipe) -> bool:
    """Whether there are any of which only the model can tell."""
    lora = recipe.train.lora_settings
    return bool(recipe.model.stop_tokens or lora.tokens or lora.targets != "all-linear")


def check_parts(recipe: Recipe) -> None:
    """Tokens and matrices that are named."""
    from kitae.models import open_codec
    from kitae.train.prepared import check_names

    base = find_base(recipe)
    check_names(recipe, base, open_codec(base, recipe.model.chat_template))


def _find(asked: str, *packages: str) -> None:
    """One of these will do."""
    if not any(importlib.util.find_spec(package) for package in packages):
        command = f"{sys.executable} -m pip install {packages[-1].replace('_', '-')}"
        raise InputError("package-missing", where=asked, package=packages[-1], command=command)
