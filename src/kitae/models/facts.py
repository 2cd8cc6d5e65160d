"""What a model folder says about itself, and whether its parts agree."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from kitae.chat import ChatCodec, HfVocabulary
from kitae.core.files import JsonDict, read_json


@dataclass(frozen=True)
class Facts:
    architecture: str
    parameters: int
    vocabulary: int
    context: int | None  # tokens that it was made for
    stretched: bool  # whether its positions are scaled, so that it may read more
    terminator: int | None  # what the template ends an answer with
    stops: dict[str, list[int]]  # place → token ids it names; of a file that isn't there, nothing

    @property
    def stop_tokens(self) -> set[int]:
        """What ends a generation with this folder. Where there is a generation_config.json, libraries read no other file."""
        if "generation_config" in self.stops:
            return set(self.stops["generation_config"])
        return set(self.stops["config"] or self.stops["tokenizer"])


def folder_facts(folder: Path, codec: ChatCodec) -> Facts:
    config = read_json(folder / "config.json")
    text = config.get("text_config") or config
    generation = folder / "generation_config.json"
    vocabulary = codec.vocabulary
    tokenizer_eos = vocabulary.tokenizer.eos_token_id if isinstance(vocabulary, HfVocabulary) else None
    stops = {
        "tokenizer": _ids(tokenizer_eos),
        "config": _ids(text.get("eos_token_id")),
    }
    if generation.exists():
        stops["generation_config"] = _ids(read_json(generation).get("eos_token_id"))
    return Facts(
        architecture=str((config.get("architectures") or [config.get("model_type", "?")])[0]),
        parameters=count_parameters(folder),
        vocabulary=int(text.get("vocab_size", 0)),
        context=text.get("max_position_embeddings") or text.get("n_positions"),
        stretched=_stretched(text.get("rope_scaling") or text.get("rope_parameters") or {}),
        terminator=codec.terminator,
        stops=stops,
    )


def _stretched(rope: JsonDict) -> bool:
    """`rope`: as a config has it, for all layers or for each kind of them."""
    return "factor" in rope or any(isinstance(part, dict) and "factor" in part for part in rope.values())


def count_parameters(folder: Path) -> int:
    """From the headers of the weight files; nothing is loaded."""
    total = 0
    for path in weight_files(folder):
        for tensor in safetensors_header(path).values():
            size = 1
            for dimension in tensor["shape"]:
                size *= dimension
            total += size
    return total


# What of a model folder decides how it behaves; a README beside it may change.
_DECIDING = (
    *("*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json", "adapter_config.json"),
    *("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt"),
)


def deciding_files(folder: Path) -> list[Path]:
    return sorted({path for pattern in _DECIDING for path in folder.glob(pattern) if path.is_file()})


def weight_files(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if index.exists():
        return [folder / name for name in sorted(set(read_json(index)["weight_map"].values()))]
    return [folder / "model.safetensors"]


def safetensors_header(path: Path) -> dict[str, JsonDict]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header: dict[str, JsonDict] = json.loads(file.read(length))
    header.pop("__metadata__", None)
    return header


def _ids(value: int | list[int] | None) -> list[int]:
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]
