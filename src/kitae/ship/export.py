"""GGUF files: F16 by llama.cpp's converter, everything smaller by its quantiser."""

from __future__ import annotations

import ctypes
import importlib
import os
import runpy
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from kitae.copies import run_fresh
from kitae.errors import InputError, KitaeError
from kitae.files import read_json, staged_file
from kitae.models import NEWLLM, library
from kitae.models.vocabulary import made_here
from kitae.ship.converter import converter

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Importance = Mapping[str, npt.NDArray[np.float32]]

_IMPORTS = ("torch", "transformers.models.auto.tokenization_auto")
_FTYPE = {
    "F16": "LLAMA_FTYPE_MOSTLY_F16",
    "Q8_0": "LLAMA_FTYPE_MOSTLY_Q8_0",
    "Q6_K": "LLAMA_FTYPE_MOSTLY_Q6_K",
    "Q5_K_M": "LLAMA_FTYPE_MOSTLY_Q5_K_M",
    "Q5_K_S": "LLAMA_FTYPE_MOSTLY_Q5_K_S",
    "Q4_K_M": "LLAMA_FTYPE_MOSTLY_Q4_K_M",
    "Q4_K_S": "LLAMA_FTYPE_MOSTLY_Q4_K_S",
    "Q4_0": "LLAMA_FTYPE_MOSTLY_Q4_0",
    "Q3_K_M": "LLAMA_FTYPE_MOSTLY_Q3_K_M",
    "Q2_K": "LLAMA_FTYPE_MOSTLY_Q2_K",
}


def to_gguf(folder: Path, target: Path) -> Path:
    """A model folder as GGUF F16."""
    check_convertible(folder)
    home = converter()
    with staged_file(target) as stage:
        pre = made_here(folder).get("llama_cpp_pre")
        arguments = [str(folder.absolute()), "--outfile", str(stage.absolute()), "--outtype", "f16"]
        code, printed = run_fresh(_convert, str(home.absolute()), pre or "", *arguments, imports=_IMPORTS, label="llama.cpp")
        if code:
            why = "\n".join(printed.strip().splitlines()[-4:])
            raise KitaeError("gguf-convert", where=str(folder), why=why)
    return target


def _convert(home: str, pre: str, *arguments: str) -> None:
    """`pre`: the converter knows pre-tokenizers by what a vocabulary makes of one text, so it knows none of vocabularies made
    here. They say themselves which of llama.cpp's they were made with; `gguf.tokens` then proves it."""
    script = f"{home}/convert_hf_to_gguf.py"
    sys.argv = [script, *arguments]
    sys.path.insert(0, home)
    if pre:
        base = importlib.import_module("conversion.base")
        base.TextModel.get_vocab_base_pre = lambda self, tokenizer: pre
    runpy.run_path(script, run_name="__main__")


def check_convertible(folder: Path) -> None:
    """Says at once what the converter would say at the end of the chain."""
    if not has_gguf_form(folder):
        raise InputError("gguf-architecture", where=str(folder), why=NEWLLM)


def has_gguf_form(folder: Path) -> bool:
    """llama.cpp has no graph for Kitae's own architectures."""
    return bool(read_json(folder / "config.json").get("model_type") != NEWLLM)


def quantise(source: Path, target: Path, quant: str, importance: Importance | None = None) -> Path:
    """A GGUF file in a smaller type. `importance` is E[x²] for the inputs of each matrix, by GGUF tensor name."""
    lib = library()
    params = lib.llama_model_quantize_default_params()
    params.ftype = getattr(lib, _FTYPE[quant])
    params.nthread = os.cpu_count() or 1
    kept = []  # llama.cpp holds only pointers
    if importance:
        entries = (lib.llama_model_imatrix_data * (len(importance) + 1))()
        for entry, (name, values) in zip(entries, importance.items(), strict=False):
            data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
            kept.append((values, data))
            entry.name, entry.data, entry.size = name.encode(), data, values.size
        params.imatrix = ctypes.cast(entries, ctypes.POINTER(lib.llama_model_imatrix_data))
    with staged_file(target) as stage:
        status = lib.llama_model_quantize(str(source).encode(), str(stage).encode(), ctypes.byref(params))
        if status != 0:
            raise KitaeError("quantise", where=str(source), why=f"{quant}: llama_model_quantize {status}")
    return target
