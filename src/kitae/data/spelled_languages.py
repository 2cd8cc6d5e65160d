"""Whether a model's tokenizer knows the languages of some rows: one that has no tokens for them spells them byte by byte."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from kitae.chat import Conversation, Vocabulary
from kitae.core.i18n import t
from kitae.data import language_of

LOOKED_AT = 300  # rows
_FEWEST = 0.05  # of the rows, to be a language of the set
_SPELLED = 1.0  # characters that a token stands for on average; below, tokens are pieces of characters


def spelled_languages(vocabulary: Vocabulary, rows: Sequence[Conversation]) -> dict[str, float]:
    """Languages that are spelled in pieces of characters, and how many characters a token stands for."""
    some = rows[:: max(1, len(rows) // LOOKED_AT)]
    texts: dict[str, list[str]] = defaultdict(list)
    for row in some:
        text = row.answer or row.messages[0].content
        if language := language_of(text):
            texts[language].append(text)
    found = {}
    for language, said in texts.items():
        tokens = sum(len(vocabulary.encode(text, parse_control=False)) for text in said)
        share = sum(map(len, said)) / max(1, tokens)
        if len(said) >= _FEWEST * len(some) and share < _SPELLED:
            found[language] = round(share, 2)
    return found


def spelled_warning(found: dict[str, float]) -> str:
    return f"! {t('say.spelled', languages=', '.join(f'{language} ({share:.2f})' for language, share in found.items()))}"
