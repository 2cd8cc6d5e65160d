"""How large a model is, from the headers of its files. No weights are read and nothing is converted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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


def peek(source: str) -> Size:
    if source in STARTERS:
        return _gguf(STARTERS[source][0]())
    path = Path(source).expanduser()
    if path.suffix == ".gguf":
        return _gguf(path)
    folder = locate(source)
    config = read_json(folder / "config.json")
    text = config.get("text_config") or config
    return Size(
        count_parameters(folder),
        int(text["hidden_size"]),
        int(text["num_hidden_layers"]),
        int(text["vocab_size"]),
    )


def _gguf(path: Path) -> Size:
    header = read_gguf_header(path)
    architecture = header.facts["general.architecture"]
    hidden, vocabulary = next(tensor.shape for tensor in header.tensors if tensor.name == "token_embd.weight")
    weights = sum(tensor.weights for tensor in header.tensors)
    return Size(weights, hidden, header.facts[f"{architecture}.block_count"], vocabulary)
