"""Liger's kernels for the norms and gated layers of a model that trains on a GPU."""

from __future__ import annotations

import sys
from pathlib import Path

from transformers import PreTrainedModel

from kitae.core.errors import InputError
from kitae.core.files import read_json
from kitae.train.layers import name_of, without_adapters

# Models on which a test has shown that they learn the same, and the activation that Liger takes theirs to be without asking.
_PROVEN = {"llama": "silu", "mistral": "silu", "qwen2": "silu", "qwen3": "silu", "gemma3_text": "gelu_pytorch_tanh"}


def check_liger(folder: Path) -> None:
    config = read_json(folder / "config.json")
    _check(config.get("model_type"), config.get("hidden_activation") or config.get("hidden_act"), str(folder))


def use_liger(model: PreTrainedModel) -> None:
    """In this model only. Liger also puts its classes in the place of the library's, where models that are opened later, on a
    CPU or to be merged, would find them; those are put back. The loss and the rotation of positions stay the usual ones: the
    first is taken block by block here, the second can't be replaced for one model."""
    from liger_kernel.transformers.monkey_patch import _apply_liger_kernel_to_instance

    inner = without_adapters(model)
    config = inner.config
    _check(config.model_type, getattr(config, "hidden_activation", None) or getattr(config, "hidden_act", None), name_of(model))
    library = vars(sys.modules[type(inner).__module__])
    usual = dict(library)
    try:
        _apply_liger_kernel_to_instance(inner, rope=False, cross_entropy=False, fused_linear_cross_entropy=False)
    finally:
        library.update(usual)


def _check(kind: str | None, activation: str | None, where: str) -> None:
    if activation is None or _PROVEN.get(str(kind)) != activation:
        raise InputError("kernels-model", where=where, why=f"{kind}, {activation}; {', '.join(_PROVEN)}")
