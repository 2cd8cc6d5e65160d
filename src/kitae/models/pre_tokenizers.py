"""How text is cut into words before the words are cut into tokens: the ways that llama.cpp knows by name.

llama.cpp holds these cuts in its own code and picks one by the name in a GGUF file, so a vocabulary can only be exported if
it was made with one of them. tests/models/test_pre_tokenizers.py compares them with llama.cpp, character by character.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers.pre_tokenizers import PreTokenizer

_GPT2 = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
_QWEN2 = r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
_LLAMA3 = _QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
_SMOLLM = ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone")

# What a new vocabulary may be made with; the first is the default. It cuts numbers into single digits, so that a digit is read
# the same wherever it stands, for 1 to 2 % more tokens than threes of digits take (docs/tokenizers.md).
PRE_TOKENIZERS = ("qwen2", "llama-bpe", "gpt-2", "smollm")


def pre_tokenizer(name: str) -> PreTokenizer:
    """The cut that llama.cpp makes under this name, and after it bytes as letters. Unknown names cut as GPT-2 did."""
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence

    if name in _SMOLLM:
        return Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False, use_regex=True)])
    if name in ("qwen2", "deepseek-r1-qwen"):
        return words_as_bytes(_QWEN2)
    if name in ("llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral"):
        return words_as_bytes(_LLAMA3)
    return words_as_bytes(_GPT2)


def words_as_bytes(pattern: str) -> PreTokenizer:
    """Every match of the pattern is a word, and every byte of a word one of 256 letters: nothing is unknown or lost."""
    from tokenizers import Regex
    from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split

    return Sequence([Split(Regex(pattern), "isolated"), ByteLevel(add_prefix_space=False, use_regex=False)])


def takes_whole_words(name: str | None) -> bool:
    """Whether llama.cpp, under this name, takes a word that is a token as that token, without asking the merges."""
    return name == "llama-bpe"
