"""GGUF files: F16 by llama.cpp's converter, everything smaller by its quantiser."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from kitae.errors import InputError, KitaeError
from kitae.files import read_json, staged_file
from kitae.models import NEWLLM, library
from kitae.models.vocabulary import made_here
from kitae.ship.converter import converter

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Importance = Mapping[str, npt.NDArray[np.float32]]

# The converter knows pre-tokenizers by what a vocabulary makes of one text, so it knows none of vocabularies made here. They
# say themselves which of llama.cpp's they were made with; `gguf.tokens` then proves it.
_WITH_PRE_TOKENIZER = """
import runpy, sys
home, pre = sys.argv[1:3]
del sys.argv[1:3]
sys.path.insert(0, home)
from conversion.base import TextModel
TextModel.get_vocab_base_pre = lambda self, tokenizer: pre
runpy.run_path(f"{home}/convert_hf_to_gguf.py", run_name="__main__")
"""
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
        script = [str(home / "convert_hf_to_gguf.py")] if pre is None else ["-c", _WITH_PRE_TOKENIZER, str(home), pre]
        command = [sys.executable, *script, str(folder), "--outfile", str(stage), "--outtype", "f16"]
        process = subprocess.run(command, capture_output=True, text=True, check=False)
        if process.returncode:
            why = "\n".join((process.stderr or process.stdout).strip().splitlines()[-4:])
            raise KitaeError("gguf-convert", where=str(folder), why=why)
    return target


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
