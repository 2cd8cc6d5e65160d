"""A GGUF file in a smaller type: llama.cpp's arithmetic, its choice of types and its layout of the file.

The prebuilt library has the arithmetic (`ggml_quantize_chunk`) but not the function that writes files; what is written here is
the same file, byte for byte (tests/ship/test_quantise.py).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from kitae.core.errors import InputError
from kitae.core.files import staged_file
from kitae.core.quants import file_type
from kitae.models import GgufHeader, GgufParts, Tensor, library, read_gguf_header, row_bytes, type_number
from kitae.ship.quant_types import layer_first, tensor_types

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]
    Importance = Mapping[str, Floats]

_QUANTISATION_VERSION = 2  # of the blocks, as ggml counts them
_PLAIN: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}
_CHUNK = 1 << 20  # weights that one thread takes at once


def quantise(source: Path, target: Path, quant: str, importance: Importance | None = None) -> Path:
    """`importance` is E[x²] for the inputs of each matrix, by GGUF tensor name."""
    header = read_gguf_header(source)
    types = tensor_types(header, quant, weighted=bool(importance))
    check_plain(source, types)
    tensors = sorted(header.tensors, key=lambda tensor: layer_first(tensor.name))
    with staged_file(target) as stage, source.open("rb") as read, stage.open("wb") as write:
        write.write(_head(header, tensors, types, quant, read))
        _pad(write, header.alignment)
        weights = np.memmap(source, mode="r", offset=header.data_start)
        for tensor in tensors:
            data: Any = weights[tensor.offset : tensor.offset + tensor.size]
            if types[tensor.name] != tensor.type:
                data = _quantised(data, tensor, types[tensor.name], (importance or {}).get(tensor.name))
            write.write(data)
            _pad(write, header.alignment)
    return target


def check_plain(source: Path, types: Mapping[str, str] | None = None) -> None:
    """What is to become smaller must not have been made smaller before. `types`: what each tensor is to become."""
    for tensor in read_gguf_header(source).tensors:
        if tensor.type not in _PLAIN and (types is None or types[tensor.name] != tensor.type):
            raise InputError("quantise", where=str(source), why=f"{tensor.name}: {tensor.type}")


def _head(header: GgufHeader, tensors: list[Tensor], types: dict[str, str], quant: str, source: BinaryIO) -> bytes:
    """All facts as they stand in the source, but for the two that say what this file is."""
    parts = GgufParts.of(source, header)
    parts.put("general.quantization_version", _QUANTISATION_VERSION)
    parts.put("general.file_type", file_type(quant).number)
    entries, offset = [], 0
    for tensor in tensors:
        entries.append(parts.tensor(tensor, type_number(types[tensor.name]), offset))
        size = row_bytes(types[tensor.name], tensor.shape[0]) * (tensor.weights // tensor.shape[0])
        offset += -(-size // header.alignment) * header.alignment
    return parts.head(entries)


def _pad(file: BinaryIO, alignment: int) -> None:
    file.write(bytes(-file.tell() % alignment))


def _quantised(data: npt.NDArray[np.uint8], tensor: Tensor, type: str, importance: Floats | None) -> bytearray:
    """Rows in chunks, by as many threads as there are cores: ctypes lets them run at the same time."""
    columns, height = tensor.shape[0], tensor.shape[1]
    rows = tensor.weights // columns
    matrices = rows // height  # of experts
    if importance is not None and importance.size not in (columns, columns * matrices):
        raise InputError("quantise", where=tensor.name, why=f"importance: {importance.size} ≠ {columns * matrices}")
    plain = data.view(_PLAIN[tensor.type]).reshape(rows, columns)
    size = row_bytes(type, columns)
    result = bytearray(rows * size)
    begin = np.frombuffer(result, np.uint8).ctypes.data
    lib, number = library(), type_number(type)

    def chunk(start: int, count: int) -> None:
        weights = _floats(plain[start : start + count])
        weighing = None
        if importance is not None:
            matrix = start // height if importance.size > columns else 0
            weighing = importance[matrix * columns : (matrix + 1) * columns].ctypes.data
        lib.ggml_quantize_chunk(number, weights.ctypes.data, begin + start * size, 0, count, columns, weighing)

    step = max(1, _CHUNK // columns)
    chunks = [(matrix * height + row, min(step, height - row)) for matrix in range(matrices) for row in range(0, height, step)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda each: chunk(*each), chunks))
    return result


def _floats(plain: npt.NDArray[Any]) -> Floats:
    if plain.dtype == _PLAIN["BF16"]:
        return (plain.astype(np.uint32) << 16).view(np.float32)
    return np.ascontiguousarray(plain, dtype=np.float32)
