"""How large a model is, from the headers of its files. No weights are read and nothing is converted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kitae.files import read_json
from kitae.models.facts import count_parameters
from kitae.models.gguf_header import read_gguf_header
from kitae.models.source import STARTERS, locate


@dataclass(frozen=True)
class Size:
    parameters: int
    hidden: int
    layers: int
    vocabulary: int
    feed_forward: int  # width within a layer; 0 where there is no such part
    queries: int  # width of all queries of a layer together
    keys: int  # that of its keys, or of its values
    passes: int = 1  # how often training goes through a layer

    READ = (
        *("hidden_size", "num_hidden_layers", "vocab_size", "intermediate_size"),
        *("num_attention_heads", "num_key_value_heads", "head_dim"),
    )

    @staticmethod
    def of_config(parameters: int, config: Mapping[str, Any]) -> Size:
        hidden, heads = int(config["hidden_size"]), int(config.get("num_attention_heads") or 1)
        width = int(config.get("head_dim") or hidden // heads)
        return Size(
            parameters,
            hidden,
            int(config["num_hidden_layers"]),
            int(config["vocab_size"]),
            int(config.get("intermediate_size") or 4 * hidden),
            heads * width,
            int(config.get("num_key_value_heads") or heads) * width,
        )


def peek(source: str) -> Size:
    if source in STARTERS:
        return _gguf(STARTERS[source][0]())
    path = Path(source).expanduser()
    if path.suffix == ".gguf":
        return _gguf(path)
    folder = locate(source)
    config = read_json(folder / "config.json")
    return Size.of_config(count_parameters(folder), config.get("text_config") or config)


def _gguf(path: Path) -> Size:
    header = read_gguf_header(path)
    architecture = header.facts["general.architecture"]
    vocabulary = next(tensor.shape for tensor in header.tensors if tensor.name == "token_embd.weight")[1]

    def fact(name: str) -> int | None:
        value = header.facts.get(f"{architecture}.{name}")
        return max(value) if isinstance(value, list) else value  # some models have another number in each layer

    names = ("embedding_length", "block_count", "", "feed_forward_length")
    heads = ("attention.head_count", "attention.head_count_kv", "attention.key_length")
    config = {**dict(zip(Size.READ, map(fact, (*names, *heads)), strict=True)), "vocab_size": vocabulary}
    return Size.of_config(sum(tensor.weights for tensor in header.tensors), config)
