"""Where a model keeps its layers."""

from __future__ import annotations

from torch import nn
from transformers import PreTrainedModel


def stack_of(model: PreTrainedModel) -> nn.ModuleList | None:
    """The one list that is as long as the model says it has layers."""
    inner = without_adapters(model)
    count = getattr(inner.config.get_text_config(), "num_hidden_layers", None)
    stacks = [m for m in inner.modules() if isinstance(m, nn.ModuleList) and len(m) == count]
    return stacks[0] if len(stacks) == 1 and not getattr(model, "carries_state", False) else None


def name_of(model: PreTrainedModel) -> str:
    return type(without_adapters(model)).__name__


def without_adapters(model: PreTrainedModel) -> PreTrainedModel:
    inner: PreTrainedModel = model.get_base_model() if hasattr(model, "get_base_model") else model
    return inner
