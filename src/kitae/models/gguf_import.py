"""From a GGUF file to a model folder that can be trained, saved and converted again. Cached by the file's hash."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from kitae.core import paths
from kitae.core.console import console, watched
from kitae.core.errors import InputError, first_line
from kitae.core.files import read_json, sha256, staged_folder, write_json
from kitae.core.i18n import t
from kitae.models.gguf_header import read_gguf_header
from kitae.models.llama import LlamaModel
from kitae.models.pre_tokenizers import pre_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_VERSION = "3"  # part of the cache's key: raise it when the import changes
_PROBES = (
    "Meet me at 10:45 on 2024-05-17, room 3.14!",
    "  two  spaces\n\n\ttabs and\r\nlines  ",
    "don't WE'LL I'm they've",
    "日本語のテキスト、漢字とかな。１２３",
    "naïve café Ångström 😀👩‍👩‍👧 ½ ⅷ",
    "x = {'a': [1, 22, 333, 4444]}; // http://e.x/?q=1&r=%20",
)


def import_gguf(path: Path, name: str) -> Path:
    folder = paths.cache_dir() / "models" / f"{name}-{sha256(path)[:12]}-v{_VERSION}"
    if (folder / "config.json").exists():
        return folder
    read_gguf_header(path)
    console.say(t("say.import-gguf", name=path.name))
    with staged_folder(folder) as stage, _read_once():
        watched(t("say.importing"), lambda: _convert(path, stage))
    return folder


@contextlib.contextmanager
def _read_once() -> Iterator[None]:
    """transformers opens the file anew for the config, the tokenizer and the weights, and its reader takes nine seconds for a
    vocabulary of 49,000 tokens; the table of names is made again for each module. Once is enough: 45 seconds become 13."""
    import gguf
    import numpy as np

    class Reader(gguf.GGUFReader):  # type: ignore[misc]
        # Slicing a memory map makes an object that knows its file, and half a million of them are made.
        data = property(lambda self: self._data, lambda self, mapped: setattr(self, "_data", np.asarray(mapped)))

    usual = {name: getattr(gguf, name) for name in ("GGUFReader", "get_tensor_name_map")}
    gguf.GGUFReader = lru_cache(maxsize=1)(Reader)
    gguf.get_tensor_name_map = lru_cache(maxsize=1)(usual["get_tensor_name_map"])
    try:
        yield
    finally:
        for name, value in usual.items():
            setattr(gguf, name, value)


def _convert(path: Path, stage: Path) -> None:
    import torch
    from safetensors.torch import save_file

    from kitae.models.auto import AutoModelForCausalLM

    tokenizer = _tokenizer(path)
    try:
        model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    except (ValueError, KeyError, RuntimeError, OSError) as error:
        raise InputError("gguf-import", where=str(path), why=first_line(error)) from error
    # transformers refuses to save what it read from a GGUF, so the state is written beside a clean config.
    tensors = {key: value.contiguous() for key, value in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        tensors.pop("lm_head.weight", None)
    save_file(tensors, stage / "model.safetensors", metadata={"format": "pt"})
    config = model.config.to_dict()
    config.pop("_name_or_path", None)
    config.pop("quantization_config", None)
    config.pop("transformers_version", None)  # the same file gives the same folder, whatever read it
    config["architectures"] = [type(model).__name__]  # a GGUF doesn't name it; converters ask for it
    (stage / "config.json").write_text(json.dumps(config, indent=2, default=str))
    model.generation_config.save_pretrained(stage)
    generation = read_json(stage / "generation_config.json")
    generation.pop("transformers_version", None)
    write_json(stage / "generation_config.json", generation)
    tokenizer.save_pretrained(stage)


def _tokenizer(path: Path) -> PreTrainedTokenizerBase:
    """transformers drops the file's pre-tokenizer, which silently changes how numbers are cut. Put it back, and prove it."""
    from transformers import AutoTokenizer

    from kitae.models.newllm.register import register_config

    register_config()

    original = LlamaModel(path, vocab_only=True)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
        pre = original.facts["pre_tokenizer"]
        if original.meta("tokenizer.ggml.model") == "gpt2":
            tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizer(str(pre))
        for probe in _PROBES:
            ours = tokenizer(probe, add_special_tokens=False)["input_ids"]
            theirs = original.vocabulary.encode(probe)
            if ours != theirs:
                why = f"tokenizer.ggml.pre={pre}: {probe!r} → {ours[:12]} / {theirs[:12]}"
                raise InputError("gguf-tokenizer", where=str(path), why=why)
        return tokenizer
    finally:
        original.close()
