"""The types of a tensor in a GGUF file."""

from __future__ import annotations


def type_number(name: str) -> int:
    from gguf import GGMLQuantizationType

    return int(GGMLQuantizationType[name])


def block_size(type: str) -> int:
    """How many weights of a row are packed together."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    return int(GGML_QUANT_SIZES[GGMLQuantizationType[type]][0])


def row_bytes(type: str, columns: int) -> int:
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    block, size = GGML_QUANT_SIZES[GGMLQuantizationType[type]]
    return int(columns // block * size)
