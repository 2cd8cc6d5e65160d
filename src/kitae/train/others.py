"""Models that a recipe names beside the one it trains: runs, or whatever `model.source` may be."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import PreTrainedModel

from kitae.errors import InputError
from kitae.models import is_adapter, is_soft_prompt, locate, open_model, open_with_adapter
from kitae.recipe import load_recipe
from kitae.runs import find_run, is_run
from kitae.train.prepare import base_folder


def other_base(source: str) -> Path:
    """The folder whose tokenizer it has."""
    if not is_run(source):
        return locate(source)
    run = find_run(source)
    return base_folder(load_recipe(run.recipe_path), run)


def open_other(source: str, dtype: torch.dtype) -> PreTrainedModel:
    """Of a run, what it trained, merged."""
    if not is_run(source):
        return open_model(locate(source), dtype)
    run = find_run(source)
    if not run.output.exists():
        raise InputError("run-untrained", where=run.id, why=run.state)
    if not is_adapter(run.output):
        return open_model(run.output, dtype)
    if is_soft_prompt(run.output):
        raise InputError("soft-prompt-merge", where=run.id)
    merged: PreTrainedModel = open_with_adapter(other_base(source), run.output, torch.float32).merge_and_unload(safe_merge=True)
    return merged.to(dtype)
