"""A GGUF file, opened by llama.cpp itself: what it says about itself and how it tokenises."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from kitae.core.errors import InputError
from kitae.core.files import JsonDict
from kitae.core.hardware import cpu_flags
from kitae.models.gguf_header import read_gguf_header
from kitae.models.llama_library import library

_ATTR_CONTROL = 1 << 3


class LlamaModel:
    """A loaded GGUF. With `vocab_only` just its metadata and tokenizer are read."""

    def __init__(self, path: Path, vocab_only: bool = False) -> None:
        self._lib = library()
        self.path = path
        read_gguf_header(path)  # says what is wrong with a file; llama.cpp only says no
        params = self._lib.llama_model_default_params()
        params.vocab_only = vocab_only
        params.n_gpu_layers = -1
        # Its tiles crash on Q8_0 matrices, and no error tells: the process is gone.
        params.use_extra_bufts = "amx_int8" not in cpu_flags()
        self.handle = self._lib.llama_model_load_from_file(str(path).encode(), params)
        if not self.handle:
            raise InputError("gguf-unreadable", where=str(path), why="llama.cpp")
        self.vocab = self._lib.llama_model_get_vocab(self.handle)

    def close(self) -> None:
        if self.handle:
            self._lib.llama_model_free(self.handle)
            self.handle = None

    @cached_property
    def cell_bytes(self) -> int:
        """What one token of one sequence takes of the cache, at most: keys and values of every layer, in half precision."""
        header = read_gguf_header(self.path)
        heads = header.fact("attention.head_count", 1)
        size = header.fact("attention.key_length", header.fact("embedding_length", 4096) // heads)
        return 2 * 2 * header.fact("block_count", 32) * header.fact("attention.head_count_kv", heads) * size

    @cached_property
    def vocabulary(self) -> LlamaVocabulary:
        return LlamaVocabulary(self._lib, self.vocab)

    def meta(self, key: str) -> str | None:
        size = 1 << 10
        while True:
            buffer = ctypes.create_string_buffer(size)
            length = self._lib.llama_model_meta_val_str(self.handle, key.encode(), buffer, size)
            if length < 0:
                return None
            if length < size:
                return buffer.value.decode("utf-8", "replace")
            size = length + 1

    @cached_property
    def facts(self) -> JsonDict:
        eos, eot = int(self._lib.llama_vocab_eos(self.vocab)), int(self._lib.llama_vocab_eot(self.vocab))
        return {
            "architecture": self.meta("general.architecture"),
            "parameters": int(self._lib.llama_model_n_params(self.handle)),
            "file_type": self.meta("general.file_type"),
            "pre_tokenizer": self.meta("tokenizer.ggml.pre"),
            "chat_template": self.meta("tokenizer.chat_template"),
            "context": int(self._lib.llama_model_n_ctx_train(self.handle)),
            "bos": int(self._lib.llama_vocab_bos(self.vocab)),
            "adds_bos": bool(self._lib.llama_vocab_get_add_bos(self.vocab)),
            "stops": {"eos": eos, **({"eot": eot} if eot >= 0 else {})},
        }

    @property
    def control_texts(self) -> dict[str, str]:
        """As templates call them."""
        named = {"bos_token": self.facts["bos"], "eos_token": self.facts["stops"]["eos"]}
        texts = {key: self.vocabulary.token_text(token) for key, token in named.items() if token >= 0}
        return {**texts, "beginning": texts.get("bos_token", "") if self.facts["adds_bos"] else ""}

    @cached_property
    def stop_tokens(self) -> set[int]:
        """Every token at which llama.cpp itself ends a generation."""
        size = int(self._lib.llama_vocab_n_tokens(self.vocab))
        return {i for i in range(size) if self._lib.llama_vocab_is_eog(self.vocab, i)}


class LlamaVocabulary:
    """llama.cpp's tokenizer behind the `Vocabulary` protocol of chat/."""

    def __init__(self, lib: Any, vocab: Any) -> None:
        self._lib = lib
        self._vocab = vocab

    @cached_property
    def size(self) -> int:
        return int(self._lib.llama_vocab_n_tokens(self._vocab))

    @cached_property
    def control(self) -> dict[str, int]:
        found = {}
        for i in range(self.size):
            if self._lib.llama_vocab_get_attr(self._vocab, i) & _ATTR_CONTROL:
                found[self.token_text(i)] = i
        return found

    def token_text(self, token: int) -> str:
        return str(self._lib.llama_vocab_get_text(self._vocab, token).decode("utf-8", "replace"))

    def encode(self, text: str, parse_control: bool = True) -> list[int]:
        data = text.encode("utf-8")
        size = len(data) + 8
        tokens = (ctypes.c_int32 * size)()
        count = self._lib.llama_tokenize(self._vocab, data, len(data), tokens, size, False, parse_control)
        if count < 0:
            raise InputError("gguf-tokenize", why=text[:80])
        return list(tokens[:count])

    def decode(self, ids: Sequence[int]) -> str:
        return b"".join(self.piece(i) for i in ids).decode("utf-8", "replace")

    def piece(self, token: int) -> bytes:
        size = 128
        while True:
            buffer = ctypes.create_string_buffer(size)
            length = self._lib.llama_token_to_piece(self._vocab, token, buffer, size, 0, True)
            if length >= 0:
                return buffer.raw[:length]
            size = -length
