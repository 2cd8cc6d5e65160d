"""Layers that a training step passes over by chance, so that none of them is relied upon alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from kitae.errors import InputError


def drop_layers(model: PreTrainedModel, share: float) -> None:
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    count = getattr(inner.config.get_text_config(), "num_hidden_layers", None)
    stacks = [m for m in inner.modules() if isinstance(m, nn.ModuleList) and len(m) == count]
    if len(stacks) != 1 or getattr(model, "carries_state", False):
        raise InputError("layer-dropout", where=type(inner).__name__, why=f"{len(stacks)} × {count}")
    for layer in stacks[0]:
        layer.forward = _sometimes(layer, share)


def _sometimes(layer: nn.Module, share: float) -> Callable[..., Any]:
    original = layer.forward

    def forward(hidden: torch.Tensor, *arguments: Any, **settings: Any) -> Any:
        if not layer.training or torch.rand(()) >= share:
            return original(hidden, *arguments, **settings)
        return hidden

    return forward
