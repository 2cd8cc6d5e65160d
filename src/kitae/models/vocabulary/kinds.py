"""What a person may ask of a new vocabulary, checked before any text is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from kitae.core.errors import InputError
from kitae.models.pre_tokenizers import PRE_TOKENIZERS

Kind = Literal["bpe", "unigram", "wordpiece", "words"]
KINDS: tuple[str, ...] = get_args(Kind)
UNKNOWN = "<unk>"

_CHAT_SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>")
_WORD_SPECIALS = ("<pad>", UNKNOWN, "<bos>", "<eos>")
# Tokens that must be there besides the special ones: a letter for each byte; in WordPiece each also as the continuation of a
# word; in Unigram some room for the trainer, which starts from characters.
_LEAST = {"bpe": 256, "unigram": 512, "wordpiece": 512, "words": 1}
_MOST = 1_000_000  # more than any model has; trainers reserve memory for what they are asked for
_USUAL = 16384
_OLD_CLAIM = 1000


@dataclass(frozen=True)
class Order:
    """A vocabulary as it was ordered: `size` counts the special tokens."""

    kind: Kind
    size: int
    pre: str | None  # llama.cpp's name of the pre-tokenizer; only byte-level BPE is a kind that llama.cpp reads
    specials: tuple[str, ...]

    @property
    def learned(self) -> int:
        """How many tokens are left for the trainer; `<unk>` of the word list is one of its own."""
        return self.size - len(self.specials) + (UNKNOWN in self.specials and self.kind == "words")

    @property
    def least(self) -> int:
        return _LEAST[self.kind] + len(self.specials)

    @property
    def lossless(self) -> bool:
        return self.kind != "words"

    @staticmethod
    def of(kind: str, size: int | None, pre: str | None, specials: Sequence[str]) -> Order:
        if kind not in KINDS:
            raise InputError("vocabulary-kind", where=kind, why=", ".join(KINDS))
        known: Kind = kind  # type: ignore[assignment]  # one of KINDS
        if pre is not None and kind != "bpe":
            raise InputError("vocabulary-pre-unused", where=pre, named=kind)
        if pre is not None and pre not in PRE_TOKENIZERS:
            raise InputError("vocabulary-pre", where=pre, why=", ".join(PRE_TOKENIZERS))
        own = _WORD_SPECIALS if kind == "words" else _CHAT_SPECIALS
        every = tuple(dict.fromkeys([*own, *specials]))
        for text in every:
            if not text or text != text.strip() or not _is_text(text):
                raise InputError("vocabulary-special", where=ascii(text))
        wanted = (_OLD_CLAIM if kind == "words" else _USUAL) if size is None else size
        order = Order(known, wanted, (pre or PRE_TOKENIZERS[0]) if kind == "bpe" else None, every)
        if not order.least <= wanted <= _MOST:
            raise InputError("vocabulary-size", size=wanted, least=order.least, most=_MOST, named=kind)
        return order


def _is_text(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # an argument that was no UTF-8
        return False
    return True
