"""From a path on this disk to a running engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kitae.generate.engine import Engine
from kitae.models import folder_facts, is_adapter, is_soft_prompt, open_codec, open_model, open_with_adapter, open_with_prompt

if TYPE_CHECKING:
    import torch


def open_engine(path: Path, base: Path | None = None, dtype: torch.dtype | None = None, template: str | None = None) -> Engine:
    """A GGUF file, a model folder, or an adapter folder with its base. `template` replaces the folder's own."""
    if path.is_file():
        from kitae.generate.llama_engine import LlamaEngine

        return LlamaEngine(path)
    import torch

    from kitae.generate.torch_engine import TorchEngine

    folder = base if base is not None and is_adapter(path) else path
    codec = open_codec(folder, template)
    wanted = dtype or torch.float32
    prompt, device = None, "cuda" if torch.cuda.is_available() else "cpu"
    if folder is path:
        model = open_model(folder, wanted)
    elif is_soft_prompt(path):
        model, prompt = open_with_prompt(folder, path, wanted, device)
    else:
        model = open_with_adapter(folder, path, wanted)
    model = model.to(device)
    facts = folder_facts(folder, codec)
    return TorchEngine(model, codec, facts.stop_tokens, facts.context, prompt)
