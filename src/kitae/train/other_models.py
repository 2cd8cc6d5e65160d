"""Models that a recipe names beside the one it trains: runs, or whatever `model.source` may be."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

from kitae.core.errors import InputError
from kitae.models import is_soft_prompt, open_model, open_with_adapter
from kitae.targets import resolve


def open_other(name: str, dtype: torch.dtype) -> PreTrainedModel:
    """Of a run, what it trained, merged."""
    target = resolve(name, trained=True).weights()
    if target.kind == "folder":
        return open_model(target.path, dtype)
    if is_soft_prompt(target.path):
        raise InputError("soft-prompt-merge", where=name)
    merged: PreTrainedModel = open_with_adapter(target.folder, target.path, torch.float32).merge_and_unload(safe_merge=True)
    return merged.to(dtype)
