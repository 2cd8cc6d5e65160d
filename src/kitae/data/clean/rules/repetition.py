"""`data.repetition`: an answer that goes round in circles. What was asked to be repeated may be."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from kitae.data.clean.rules.finding import Exchange, RowView, excerpt
from kitae.data.read.finding import Finding

GATE = "data.repetition"
_NUMBER = (
    r"(?:(?:twen|thir|four|for|fif|six|seven|eigh|nine)t(?:y|een)(?:-\w+)?|two|three|four|five|six|seven|eight|nine|ten|eleven|"
    r"twelve|(?:a )?(?:dozen|hundred|thousand))"
)
_ASKED = re.compile(
    rf"\b(?:repeat(?:ed|ing|s|edly)?|(?:\d+|many|several|few|{_NUMBER}) times|over and over|"
    r"mantra|ascii|copies of|rows? of|emoji|lorem)\b|繰り返|\d+回",
    re.IGNORECASE,
)
# Zeros and threes come again where numbers are wanted; what is said around them may not.
_NUMBERS_ASKED = re.compile(r"\b(?:matri(?:x|ces)|decimals?|fractions?|digits?|binary)\b|行列|小数|桁|二進", re.IGNORECASE)
_NUMBERS = re.compile(r"\d[\d\s.,;:&|\\\[\](){}]*")
# Verse comes back to the same line, but is not one line only.
_VERSE = re.compile(r"\b(?:songs?|lyrics|poems?|chants?|chorus|rhymes?|haiku|rap|verses?)\b|歌詞|詩", re.IGNORECASE)
_CHARACTERS = re.compile(r"([^\W\d_])\1{14,}|([!?,;\d☀-➿🀀-🫿])\2{19,}")
_LONG_WORD = 24
_SYLLABLES = re.compile(r"([^\W\d_]{2,5}?)\1{11,}")
_WORD = re.compile(r"[^\W_]+")
_SAME_WORD = re.compile(r"\b([^\W\d_]{1,30})(?:[\s,.!?、。]+\1\b){5,}", re.IGNORECASE)
_NUMBERED = re.compile(r"^[ \t]*\d+[.):、．][ \t]*(.+?)[ \t]*$", re.MULTILINE)
_SENTENCE = re.compile(r"[^.!?。！？\n]+")
_NO_SPACES = re.compile(r"[぀-ヿ一-鿿가-힣]")
_LEAST = 4  # times
_LEAST_ITEMS = 10  # of a list, in which short answers to as many questions may be the same
_WORDS, _CHARS = 4, 8  # length of a piece that may come again


def find(view: RowView) -> Iterator[Finding]:
    if view.is_text:
        found = circles(view.row.messages[0].content)
        if found:
            yield Finding(GATE, *found)
    for exchange in view.exchanges:
        found = circles(exchange.answer)
        if found and not _is_meant(exchange, found[0]):
            yield Finding(GATE, *found)


def _is_meant(exchange: Exchange, kind: str) -> bool:
    if _ASKED.search(exchange.asked) or exchange.is_about_code:
        return True
    if len(_NUMBERED.findall(exchange.asked)) >= _LEAST_ITEMS:  # as many short answers as questions
        return True
    if _NUMBERS_ASKED.search(exchange.asked) and not circles(_NUMBERS.sub(" ", exchange.answer)):
        return True
    return kind != "whole" and bool(_VERSE.search(exchange.asked))


def circles(text: str) -> tuple[str, str] | None:
    """(kind, evidence)."""
    if found := _CHARACTERS.search(text):
        return "characters", excerpt(text, *found.span())
    if max(map(len, text.split()), default=0) >= _LONG_WORD and (found := _SYLLABLES.search(text)):
        return "characters", excerpt(text, *found.span())
    if found := _SAME_WORD.search(text):
        return "words", excerpt(text, *found.span())
    if item := _same_items(text):
        return "sentences", item
    words = _pieces(text)
    if period := _period(words):
        return "whole", f"{len(words) / period:.1f} × {_shown(words[:period])}"
    if sentence := _said_again(text):
        return "sentences", sentence
    if tail := _tail(words):
        return "pieces", tail
    if piece := _again_and_again(words):
        return "pieces", piece
    return None


def _same_items(text: str) -> str | None:
    """A list that ran out of things to say and kept on counting."""
    items = [found.group(1).casefold() for found in _NUMBERED.finditer(text)]
    most, times = Counter(items).most_common(1)[0] if items else ("", 0)
    return f"{times} × {most[:100]}" if times >= _LEAST_ITEMS and times >= 0.5 * len(items) else None


def _pieces(text: str) -> list[str]:
    folded = text.casefold()
    dense = len(_NO_SPACES.findall(folded))
    return list(re.sub(r"\s+", "", folded)) if dense * 2 > len(folded) else _WORD.findall(folded)


def _said_again(text: str) -> str | None:
    """Most of the text is one or few sentences, several times over."""
    sentences = [" ".join(found.group().split()).casefold() for found in _SENTENCE.finditer(text)]
    sentences = [sentence for sentence in sentences if any(character.isalpha() for character in sentence)]
    if len(sentences) < _LEAST:
        return None
    counts = Counter(sentences)
    again = {sentence: count for sentence, count in counts.items() if count >= _LEAST and len(sentence) >= 3}
    said = sum(len(sentence) * count for sentence, count in again.items())
    if said < 0.5 * sum(map(len, sentences)) or not any(" " in sentence or len(sentence) >= 8 for sentence in again):
        return None
    most = max(again, key=lambda sentence: len(sentence) * again[sentence])
    return f"{again[most]} × {most[:100]}"


def _period(words: Sequence[str]) -> int:
    """The length of what the whole text is a repetition of, or 0."""
    if len(words) < 12:
        return 0
    border = [0] * len(words)
    for i in range(1, len(words)):
        j = border[i - 1]
        while j and words[i] != words[j]:
            j = border[j - 1]
        border[i] = j + 1 if words[i] == words[j] else 0
    period = len(words) - border[-1]
    times = len(words) / period
    return period if (times >= 2 and period >= 8) or (times >= 3 and period >= 3) or times >= 6 else 0


def _tail(words: Sequence[str]) -> str | None:
    """It ends with the same few words, over and over."""
    least = 24 if words and max(map(len, words[-24:])) == 1 else 12
    for period in range(1, 13):
        same = 0
        while same + period < len(words) and words[-1 - same] == words[-1 - same - period]:
            same += 1
        if same >= max(3 * period, least):
            return f"{same / period + 1:.1f} × {_shown(words[-period:])}"
    return None


def _again_and_again(words: Sequence[str]) -> str | None:
    size = _CHARS if words and max(map(len, words[:50])) == 1 else _WORDS
    count = len(words) - size + 1
    if count < 24:
        return None
    pieces = Counter(zip(*(words[i:] for i in range(size)), strict=False))
    if len(pieces) > 0.3 * count:
        return None
    most, times = pieces.most_common(1)[0]
    return f"{times} × {_shown(most)}"


def _shown(words: Sequence[str]) -> str:
    return ("" if words and max(map(len, words)) == 1 else " ").join(words)[:100]
