"""How large a model is, from the headers of its files. No weights are read and nothing is converted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kitae.files import read_json
from kitae.models.facts import count_parameters
from kitae.models.llama import check_gguf
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
    from gguf import GGUFReader

    check_gguf(path)
    reader = GGUFReader(path)
    architecture = str(reader.fields["general.architecture"].contents())
    embedding = next(tensor for tensor in reader.tensors if tensor.name == "token_embd.weight")
    return Size(
        sum(int(tensor.n_elements) for tensor in reader.tensors),
        int(embedding.shape[0]),
        int(reader.fields[f"{architecture}.block_count"].contents()),
        int(embedding.shape[1]),
    )
