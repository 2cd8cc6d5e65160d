"""From base and adapter to one set of weights: added in fp32, stored in the wanted type."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from kitae.core.errors import InputError
from kitae.core.files import read_json, staged_folder
from kitae.models import folder_facts, is_adapter, open_codec, open_model, open_tokenizer, open_with_adapter, save_tokenizer

_F16_MAX = 65504.0


def merge(base: Path, output: Path, folder: Path, dtype: str, template: str | None, extra_stops: list[int]) -> Path:
    """Writes a whole model folder. `output` is what training left: an adapter, or already a whole model."""
    import torch

    if is_adapter(output):
        model = open_with_adapter(base, output, torch.float32)
        weights = model.merge_and_unload(safe_merge=True)
    else:
        weights = open_model(output, torch.float32)
    wanted = getattr(torch, dtype)
    if wanted == torch.float16:
        largest = max(float(p.abs().max()) for p in weights.parameters())
        if largest > _F16_MAX:
            raise InputError("float16-range", where=str(output), why=f"{largest:.3g} > {_F16_MAX:.0f}")
    weights = weights.to(wanted)
    weights.config.dtype = wanted
    with staged_folder(folder) as stage:
        weights.save_pretrained(stage)
        tokenizer = open_tokenizer(base)
        if template is not None:
            tokenizer.chat_template = Path(template).read_text(encoding="utf-8")
        save_tokenizer(tokenizer, stage)
        write_stops(stage, base, template, extra_stops)
        for name in ("LICENSE", "NOTICE", "tokenizer.model"):
            if (base / name).exists():
                shutil.copyfile(base / name, stage / name)
    return folder


def write_stops(folder: Path, base: Path, template: str | None, extra: Sequence[int]) -> None:
    """The stop tokens that ended answers in training end them in the shipped folder."""
    generation = base / "generation_config.json"
    stops = folder_facts(base, open_codec(base, template)).stop_tokens.union(extra)
    if stops:
        value = {**(read_json(generation) if generation.exists() else {}), "eos_token_id": sorted(stops)}
        (folder / generation.name).write_text(json.dumps(value, indent=2))
