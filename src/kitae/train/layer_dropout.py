"""Layers that a training step passes over by chance, so that none of them is relied upon alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from kitae.core.errors import InputError
from kitae.train.layers import name_of, stack_of


def drop_layers(model: PreTrainedModel, share: float) -> None:
    """All but the last, so that there is always something to learn."""
    layers = stack_of(model)
    if layers is None or not _give_states_alone(model, layers):
        raise InputError("layer-dropout", where=name_of(model))
    for layer in layers[:-1]:
        layer.forward = _sometimes(layer, share)


def _give_states_alone(model: PreTrainedModel, layers: nn.ModuleList) -> bool:
    """Some families' layers give more than the states that the next one takes, and can't be left out."""
    seen: list[bool] = []
    hooks = [layer.register_forward_hook(lambda _, __, found: seen.append(isinstance(found, torch.Tensor))) for layer in layers]
    training = model.training
    try:
        with torch.no_grad():
            model.eval()(input_ids=torch.zeros(1, 2, dtype=torch.long, device=model.device), use_cache=False)
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    return len(seen) == len(layers) and all(seen)


def _sometimes(layer: nn.Module, share: float) -> Callable[..., Any]:
    original = layer.forward

    def forward(hidden: torch.Tensor, *arguments: Any, **settings: Any) -> Any:
        if not layer.training or torch.rand(()) >= share:
            return original(hidden, *arguments, **settings)
        return hidden

    return forward
