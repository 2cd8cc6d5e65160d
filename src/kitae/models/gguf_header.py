"""The head of a GGUF file: its facts and the table of its tensors.

The gguf package's own reader keeps a view of every token of the vocabulary and takes seconds for that; every process that
opens a file would pay them. llama.cpp says no to a bad file, but not why.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from kitae.core.errors import InputError

_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_UINT32 = 4
_VERSIONS = (2, 3)
_ALIGNMENT = 32


class Length(int):
    """Of a list; its values were passed over."""


@dataclass(frozen=True)
class Tensor:
    name: str
    shape: tuple[int, ...]
    type: str
    size: int  # bytes
    bits: float  # of one weight
    offset: int  # from where the weights begin

    @property
    def weights(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True)
class GgufHeader:
    facts: dict[str, Any]  # of lists only their `Length`
    tensors: list[Tensor]
    places: dict[str, tuple[int, int]]  # where each fact begins and ends in the file
    data_start: int

    @property
    def alignment(self) -> int:
        return int(self.facts.get("general.alignment", _ALIGNMENT))

    def fact(self, name: str, otherwise: int) -> int:
        """A number that the model's architecture has a name for; of a list, which a few have layer by layer, none."""
        value = self.facts.get(f"{self.facts.get('general.architecture')}.{name}")
        return value if isinstance(value, int) and not isinstance(value, Length) and value else otherwise


@dataclass(frozen=True)
class GgufParts:
    """The bytes of a head, to be put together again."""

    facts: dict[str, bytes]

    @staticmethod
    def of(file: BinaryIO, header: GgufHeader) -> GgufParts:
        found = {}
        for name, (begin, end) in header.places.items():
            file.seek(begin)
            found[name] = file.read(end - begin)
        return GgufParts(found)

    def put(self, name: str, value: int) -> None:
        """At the end, also if it was there before: so does llama.cpp."""
        self.facts.pop(name, None)
        self.facts[name] = _text(name) + struct.pack("<II", _UINT32, value)

    def tensor(self, tensor: Tensor, type: int, offset: int) -> bytes:
        return _text(tensor.name) + struct.pack(f"<I{len(tensor.shape)}QIQ", len(tensor.shape), *tensor.shape, type, offset)

    def head(self, tensors: Sequence[bytes]) -> bytes:
        counts = struct.pack("<IQQ", _VERSIONS[-1], len(tensors), len(self.facts))
        return b"".join((b"GGUF", counts, *self.facts.values(), *tensors))


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def read_gguf_header(path: Path) -> GgufHeader:
    """Raises an error that says what is wrong, also if tensors are missing at the end of the file."""
    if not path.is_file():
        raise InputError("file-missing", where=str(path))
    stat = path.stat()
    return _read(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _read(path: Path, size: int, _changed: int) -> GgufHeader:
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Reader(data).header(size)
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError, struct.error) as error:
        raise InputError("gguf-unreadable", where=str(path), why=f"{type(error).__name__}: {error}") from error


class _Reader:
    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._at = 0

    def header(self, size: int) -> GgufHeader:
        if self._data[:4] != b"GGUF":
            raise ValueError("magic")
        self._at = 4
        version = self._number("<I")
        if version not in _VERSIONS:
            raise ValueError(f"version {version}")
        tensors, fields = self._number("<Q"), self._number("<Q")
        facts, places = {}, {}
        for _ in range(fields):
            begin = self._at
            name = self._string()
            facts[name] = self._value(self._number("<I"))
            places[name] = begin, self._at
        found = [self._tensor() for _ in range(tensors)]
        alignment = facts.get("general.alignment", _ALIGNMENT)
        start = -(-self._at // alignment) * alignment
        last = start + max((tensor.offset + tensor.size for tensor in found), default=0)
        if last > size:
            raise ValueError(f"{size} < {last} bytes")
        return GgufHeader(facts, found, places, start)

    def _tensor(self) -> Tensor:
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

        name = self._string()
        shape = tuple(self._number("<Q") for _ in range(self._number("<I")))
        kind = GGMLQuantizationType(self._number("<I"))
        offset = self._number("<Q")
        block, bytes_ = GGML_QUANT_SIZES[kind]
        return Tensor(name, shape, kind.name, prod(shape) // block * bytes_, 8 * bytes_ / block, offset)

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._string()
        if kind != _ARRAY:
            return self._number(_SCALARS[kind])
        inner, count = self._number("<I"), self._number("<Q")
        if inner in _SCALARS:
            self._skip(count * struct.calcsize(_SCALARS[inner]))
        else:
            for _ in range(count):
                self._skip(self._number("<Q")) if inner == _STRING else self._value(inner)
        return Length(count)

    def _number(self, form: str) -> Any:
        (value,) = struct.unpack_from(form, self._data, self._at)
        self._at += struct.calcsize(form)
        return value

    def _string(self) -> str:
        start = self._at + 8
        self._skip(self._number("<Q"))
        return self._data[start : self._at].decode("utf-8", "replace")

    def _skip(self, count: int) -> None:
        self._at += count
        if self._at > len(self._data):
            raise ValueError(f"{len(self._data)} < {self._at} bytes")
