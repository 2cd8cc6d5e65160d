"""GGUF files in F16, by llama.cpp's own converter."""

from __future__ import annotations

import importlib
import runpy
import sys
from pathlib import Path

from kitae.core.errors import InputError, KitaeError
from kitae.core.files import read_json, staged_file
from kitae.core.workers import run_fresh
from kitae.models import NEWLLM
from kitae.models.vocabulary import made_here
from kitae.ship.conversion import converter

_IMPORTS = ("torch", "transformers.models.auto.tokenization_auto")


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
