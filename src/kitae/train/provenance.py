"""What went into a run, hashed, so that a result can be traced, made again, and told from one of other ingredients."""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from kitae.chat import ChatCodec
from kitae.core.files import hash_text, read_text, sha256
from kitae.models import count_parameters, deciding_files, llama_version
from kitae.runs import Run
from kitae.train.prepared import Prepared

_VERSIONS = ("torch", "transformers", "peft", "tokenizers")


def ingredients(run: Run, base: Path, codec: ChatCodec) -> dict[str, str]:
    """A hash of each file that decides what the model reads and learns, and of that part of the recipe which does."""
    asked = _without_licences(yaml.safe_load(read_text(run.recipe_path)))
    return {
        **{f"model/{path.name}": sha256(path) for path in deciding_files(base)},
        "recipe": hash_text(json.dumps([asked.get(section) for section in ("model", "data", "train")], sort_keys=True)),
        "template": hash_text(codec.template.source),
        **{f"data/{path.name}": sha256(path) for path in sorted(run.data.glob("*.jsonl"))},
    }


def _without_licences(value: Any) -> Any:
    """What is found out about them later may be written into a run's recipe; it changes nothing that was learned."""
    if isinstance(value, dict):
        return {key: _without_licences(inner) for key, inner in value.items() if key != "licence"}
    return [_without_licences(inner) for inner in value] if isinstance(value, list) else value


def manifest(prepared: Prepared) -> dict[str, object]:
    recipe = prepared.recipe
    sources = [*recipe.data.train, *recipe.data.test]
    packages = [*_VERSIONS, *(["liger-kernel"] if recipe.train.kernels == "liger" else [])]
    return {
        "kitae": version("kitae"),
        "versions": {**{name: version(name) for name in packages}, "llama.cpp": llama_version()},
        "machine": {"platform": platform.platform(), "python": platform.python_version()},
        "model": {
            "source": recipe.model.source,
            "folder": str(prepared.base),
            "parameters": count_parameters(prepared.base),
            "stop_tokens": sorted(prepared.stop_tokens),
            "terminator": prepared.codec.terminator,
        },
        "ingredients": ingredients(prepared.run, prepared.base, prepared.codec),
        "rows": {"train": len(prepared.rows.train), "validation": len(prepared.rows.validation)},
        "duplicates_removed": prepared.rows.duplicates,
        "too_long": len(prepared.too_long),
        "licences": sorted({source.licence for source in sources}),
        "seed": recipe.train.seed,
    }
