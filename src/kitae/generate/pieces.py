"""The bytes of a single token. A character may span several tokens, so text can't be decoded token by token."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from kitae.chat import HfVocabulary, Vocabulary
from kitae.models import LlamaVocabulary


def token_bytes(vocabulary: Vocabulary) -> Callable[[int], bytes]:
    if isinstance(vocabulary, LlamaVocabulary):
        return vocabulary.piece
    assert isinstance(vocabulary, HfVocabulary)
    return _hf_token_bytes(vocabulary)


def _hf_token_bytes(vocabulary: HfVocabulary) -> Callable[[int], bytes]:
    tokenizer = vocabulary.tokenizer
    added = tokenizer.added_tokens_decoder
    table = _byte_table()
    byte_level = "ByteLevel" in str(tokenizer.backend_tokenizer.decoder)

    def piece(token: int) -> bytes:
        if token in added:
            return str(added[token].content).encode("utf-8")
        text = tokenizer.convert_ids_to_tokens(token)
        if text is None:  # a row of the embedding beyond the vocabulary
            return b""
        if byte_level:
            return bytes(table[char] for char in text if char in table)
        if len(text) == 6 and text.startswith("<0x") and text.endswith(">"):
            return bytes([int(text[3:5], 16)])
        return str(text).replace("\u2581", " ").encode("utf-8")

    return piece


@lru_cache(maxsize=1)
def _byte_table() -> dict[str, int]:
    """GPT-2's printable stand-ins for bytes."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {chr(byte): byte for byte in plain}
    for extra, byte in enumerate(byte for byte in range(256) if byte not in plain):
        table[chr(256 + extra)] = byte
    return table
