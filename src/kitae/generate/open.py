"""From a target on this disk to a running engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kitae.core.hardware import free_gpu_memory, has_gpu
from kitae.generate.engine import Engine
from kitae.models import Target, folder_facts, is_soft_prompt, open_codec, open_model, open_with_adapter, open_with_prompt, peek

if TYPE_CHECKING:
    import torch

_WITH_WORK = 1.2  # a cache of what was read, and what passes through a layer


def open_engine(target: Target, dtype: torch.dtype | None = None) -> Engine:
    """It ends answers at the target's own stop tokens and at those it names."""
    engine = _llama(target) if target.kind == "gguf" else _torch(target, dtype)
    engine.stop_tokens = engine.stop_tokens | target.stop_ids(engine.codec)
    return engine


def _llama(target: Target) -> Engine:
    from kitae.generate.engines.llama_engine import LlamaEngine

    return LlamaEngine(target.path, target.template)


def _torch(target: Target, dtype: torch.dtype | None) -> Engine:
    import torch

    from kitae.generate.engines.torch_engine import TorchEngine

    path, folder = target.path, target.folder
    codec = open_codec(folder, target.template)
    wanted = dtype or torch.float32
    prompt, device = None, device_for(folder, wanted)
    if folder == path:
        model = open_model(folder, wanted)
    elif is_soft_prompt(path):
        model, prompt = open_with_prompt(folder, path, wanted, device)
    else:
        model = open_with_adapter(folder, path, wanted)
    model = model.to(device)
    facts = folder_facts(folder, codec)
    return TorchEngine(model, codec, facts.stop_tokens, facts.context, prompt)


def device_for(folder: Path, dtype: torch.dtype) -> str:
    """The GPU if the model, and what it works on, fit into what is free there; else it answers more slowly."""
    if has_gpu() and peek(str(folder)).parameters * dtype.itemsize * _WITH_WORK <= free_gpu_memory():
        return "cuda"
    return "cpu"
