"""Which type each tensor of a quantised file gets: llama.cpp's own choice, written down as rules.

A file type such as Q4_K_M is a mixture. Tensors that matter more get more bits, and rows that a type's blocks don't divide get
a type with smaller blocks. tests/ship/test_quantise.py compares every choice with files that llama.cpp itself has made.

Not here: Falcon's exceptions, and the extra bits of models with 80 layers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kitae.core.quants import SMALLER_BLOCKS, file_type
from kitae.models import GgufHeader, Tensor, block_size

_EMBEDDINGS = ("token_embd.weight", "per_layer_token_embd.weight")
# Matrices that are small, or that decide where the rest goes.
_NEVER = re.compile(
    r"_norm\.weight|ffn_gate_inp\.weight|ffn_gate_tid2eid|altup|laurel|per_layer_model_proj|ssm_conv1d|shortconv\.conv\.weight"
    r"|indexer\.[kq]_proj|time_mix_(first|w[0-2]|v[0-2]|a[0-2]|g[12]|decay_w[12]|lerp_fused)\.weight|attn_rel_b"
    r"|\.position_embd|\.rel_pos|\.patch_embd|^(position_embd|token_types)\.weight"
)
_KINDS = {  # the first that a name contains
    "attn_qkv.weight": "value",
    "attn_kv_b.weight": "value",
    "attn_v.weight": "value",
    "attn_k.weight": "key",
    "attn_output.weight": "output",
    "ffn_down": "down",
}


@dataclass(frozen=True)
class _Facts:
    layers: int
    experts: int
    shared_heads: float  # how many queries look with one key
    values: int  # how many matrices of values there are
    weighted: bool  # an importance matrix is given


@dataclass(frozen=True)
class _Place:
    """Where a tensor stands: the how-manyth of its kind, and in how many."""

    number: int
    count: int

    @property
    def early(self) -> bool:
        return self.number < self.count // 8

    @property
    def matters(self) -> bool:
        return self.early or self.number >= 7 * self.count // 8 or (self.number - self.count // 8) % 3 == 2


Rule = Callable[[_Place, _Facts], str | None]  # a type that differs from the file's default
_RULES: dict[tuple[str, str], Rule] = {
    ("Q2_K", "value"): lambda _, facts: "Q4_K" if facts.shared_heads >= 4 else "Q3_K",
    ("Q2_K", "down"): lambda *_: "Q3_K",
    ("Q2_K", "output"): lambda *_: "Q3_K",
    ("Q3_K_M", "value"): lambda place, _: "Q5_K" if place.number < 2 else "Q4_K",
    ("Q3_K_M", "down"): lambda place, _: "Q5_K" if place.number < place.count // 16 else "Q4_K",
    ("Q3_K_M", "output"): lambda *_: "Q4_K",
    ("Q4_0", "down"): lambda place, facts: "Q4_1" if facts.weighted and place.early else None,
    ("Q4_K_S", "value"): lambda place, _: "Q5_K" if place.number < 4 else None,
    ("Q4_K_S", "down"): lambda place, _: "Q5_K" if place.early else None,
    ("Q4_K_M", "value"): lambda place, _: "Q6_K" if place.matters else None,
    ("Q4_K_M", "down"): lambda place, _: "Q6_K" if place.matters else None,
    ("Q5_K_M", "value"): lambda place, _: "Q6_K" if place.matters else None,
    ("Q5_K_M", "down"): lambda place, _: "Q6_K" if place.matters else None,
}
_OF_EIGHT_EXPERTS = {"value": "Q8_0", "key": "Q8_0"}
_OUTPUT_OF_EIGHT_EXPERTS = {"Q2_K": "Q5_K", "Q3_K_M": "Q5_K", "Q4_K_S": "Q5_K", "Q4_K_M": "Q5_K"}


def layer_first(name: str) -> tuple[int, str]:
    """llama.cpp's order of tensors: those of no layer, then layer by layer."""
    layer = re.match(r"blk\.(\d+)\.", name)
    return (int(layer[1]) if layer else -1), name


def tensor_types(header: GgufHeader, quant: str, weighted: bool) -> dict[str, str]:
    """The type of each tensor of the file, by name and in llama.cpp's order."""
    tensors = sorted(header.tensors, key=lambda tensor: layer_first(tensor.name))
    facts = _facts(header, tensors, weighted)
    tied = all(tensor.name != "output.weight" for tensor in tensors)
    seen = {"value": 0, "down": 0}
    found = {}
    for tensor in tensors:
        found[tensor.name] = tensor.type
        if quantised(tensor):
            chosen = _choose(tensor, quant, facts, seen, tied)
            found[tensor.name] = _fitting(chosen, tensor.shape[0])
    return found


def quantised(tensor: Tensor) -> bool:
    """Matrices; norms, biases and what is small stay as they are."""
    sizes = [size for size in tensor.shape[1:] if size > 1]
    return bool(sizes) and tensor.name.endswith("weight") and not _NEVER.search(tensor.name)


def _facts(header: GgufHeader, tensors: Sequence[Tensor], weighted: bool) -> _Facts:
    values = sum(_kind(tensor.name) == "value" for tensor in tensors)
    heads = header.fact("attention.head_count", 1)
    sharing = heads / max(header.fact("attention.head_count_kv", heads), 1)
    return _Facts(header.fact("block_count", 0), header.fact("expert_count", 0), sharing, values, weighted)


def _choose(tensor: Tensor, quant: str, facts: _Facts, seen: dict[str, int], tied: bool) -> str:
    default = file_type(quant).tensor
    if tensor.name == "output.weight" or (tied and tensor.name in _EMBEDDINGS):
        if default == "Q8_0" or tensor.shape[0] % block_size(default):
            return "Q8_0"
        return "Q6_K"
    kind = _kind(tensor.name)
    if tensor.name in _EMBEDDINGS or kind is None:
        return default
    count = facts.values if kind == "value" else facts.layers
    number = seen.get(kind, 0)
    if kind == "down" and facts.experts > 1:
        number = layer_first(tensor.name)[0]
    if kind in seen:
        seen[kind] += 1
    if facts.experts == 8:
        if kind in _OF_EIGHT_EXPERTS:
            return _OF_EIGHT_EXPERTS[kind]
        if kind == "output":
            return _OUTPUT_OF_EIGHT_EXPERTS.get(quant, default)
    rule = _RULES.get((quant, kind))
    return (rule(_Place(number, count), facts) if rule else None) or default


def _kind(name: str) -> str | None:
    return next((kind for part, kind in _KINDS.items() if part in name), None)


def _fitting(type: str, columns: int) -> str:
    if columns % block_size(type) == 0:
        return type
    smaller = SMALLER_BLOCKS.get(type, type)
    return smaller if columns % block_size(smaller) == 0 else "F16"
