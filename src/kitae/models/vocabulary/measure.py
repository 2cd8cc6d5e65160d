"""What a tokenizer does to texts: how far it shortens them, which of its tokens they use, what it doesn't know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kitae.chat import HfVocabulary
from kitae.core.files import JsonDict, read_text

_SHOWN = 8
_SAMPLES = Path(__file__).parent / "samples"
_KINDS = {"BPE": "bpe", "Unigram": "unigram", "WordPiece": "wordpiece", "WordLevel": "words"}
LANGUAGES = ("en", "ja")


def sample_text(language: str) -> str:
    """The same five paragraphs in each language, so that their token counts can be compared too."""
    return read_text(_SAMPLES / f"{language}.txt")


@dataclass
class Measured:
    """One text, added piece by piece."""

    bytes: int = 0
    characters: int = 0
    unknown: int = 0
    used: Counter[int] = field(default_factory=Counter)

    @property
    def tokens(self) -> int:
        return self.used.total()

    def as_dict(self) -> JsonDict:
        return {
            "bytes": self.bytes,
            "characters": self.characters,
            "tokens": self.tokens,
            "bytes_per_token": round(self.bytes / max(self.tokens, 1), 3),
            "unknown": round(self.unknown / max(self.tokens, 1), 4),
        }


def measure(vocabulary: HfVocabulary, texts: Iterable[str]) -> Measured:
    found = Measured()
    unknown = vocabulary.tokenizer.unk_token_id
    for text in texts:
        ids = vocabulary.encode(text, parse_control=False)
        found.bytes += len(text.encode())
        found.characters += len(text)
        found.unknown += ids.count(unknown) if unknown is not None else 0
        found.used.update(ids)
    return found


@dataclass(frozen=True)
class Rare:
    unused: float  # share of all tokens that text can become
    rare: float  # used less often than `below`, the unused among them
    below: int
    examples: list[str]  # the longest of the unused


def rare_tokens(vocabulary: HfVocabulary, used: Mapping[int, int], below: int) -> Rare:
    control = set(vocabulary.control.values())
    learned = [i for i in range(vocabulary.size) if i not in control]
    unused = [i for i in learned if not used.get(i)]
    rare = sum(used.get(i, 0) < below for i in learned)
    return Rare(len(unused) / len(learned), rare / len(learned), below, _longest(vocabulary, unused))


def longest_tokens(vocabulary: HfVocabulary) -> list[str]:
    control = set(vocabulary.control.values())
    return _longest(vocabulary, [i for i in range(vocabulary.size) if i not in control])


def kind_of(vocabulary: HfVocabulary) -> str:
    name = type(vocabulary.tokenizer.backend_tokenizer.model).__name__
    return _KINDS.get(name, name)


def _longest(vocabulary: HfVocabulary, ids: list[int]) -> list[str]:
    """Of those with a letter: runs of spaces and dashes say little."""
    texts = vocabulary.tokenizer.backend_tokenizer.decode_batch([[i] for i in ids], skip_special_tokens=False)
    texts = [text for text in texts if any(char.isalpha() for char in text)]
    return sorted(texts, key=lambda text: (-len(text), text))[:_SHOWN]
