"""How large a model is, from the headers of its files. No weights are read and nothing is converted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kitae.core.errors import InputError, first_line
from kitae.core.files import read_json
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
    NEEDED = frozenset(("hidden_size", "num_hidden_layers", "vocab_size"))

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
    config = config.get("text_config") or config
    if any(name not in config for name in Size.NEEDED):
        config = _translated(folder)
    return Size.of_config(count_parameters(folder), config)


def _translated(folder: Path) -> dict[str, Any]:
    """The facts of a model whose file calls them otherwise, as GPT-2's does; transformers knows by what names."""
    from transformers import AutoConfig

    from kitae.models.newllm.register import register_config

    register_config()

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True).get_text_config()
    except (ValueError, KeyError, OSError) as error:
        raise InputError("model-unreadable", where=str(folder / "config.json"), why=first_line(error)) from error
    found = {name: getattr(config, name, None) for name in Size.READ}
    missing = sorted(name for name in Size.NEEDED if found[name] is None)
    if missing:
        raise InputError("model-unreadable", where=str(folder / "config.json"), why=", ".join(missing))
    return found


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
