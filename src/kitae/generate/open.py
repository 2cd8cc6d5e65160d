"""From a target on this disk to a running engine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from kitae.core.errors import InputError
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


def open_adapters(base: Target, adapters: Mapping[str, Target]) -> dict[str, Engine]:
    """LoRA adapters of one base, with its weights loaded once; under the empty name the base itself."""
    import torch

    from kitae.generate.engines.adapted import open_adapted
    from kitae.generate.engines.torch_engine import TorchEngine

    wrong = next((a for a in adapters.values() if a.kind != "adapter" or is_soft_prompt(a.path) or a.folder != base.path), None)
    if wrong is not None:
        raise InputError("serve-adapter", where=wrong.name, why=f"{wrong.folder} ≠ {base.path}")
    device = device_for(base.path, torch.float32)
    found = open_adapted(base.path, {name: adapter.path for name, adapter in adapters.items()}, torch.float32, device)
    engines: dict[str, Engine] = {}
    for name, target in {"": base, **adapters}.items():
        codec = open_codec(base.path, target.template)
        facts = folder_facts(base.path, codec)
        engine = TorchEngine(found[name or None], codec, facts.stop_tokens, facts.context)
        engine.stop_tokens = engine.stop_tokens | target.stop_ids(codec)
        engines[name] = engine
    return engines


def device_for(folder: Path, dtype: torch.dtype) -> str:
    """The GPU if the model, and what it works on, fit into what is free there; else it answers more slowly."""
    if has_gpu() and peek(str(folder)).parameters * dtype.itemsize * _WITH_WORK <= free_gpu_memory():
        return "cuda"
    return "cpu"
