"""Which answers without a closing mark were cut off, told by the set.

Every sentence of a set shows which words may end one, and which go on. Answers that lack a closing mark are a mixture: some
were cut off anywhere, others only lack the mark. The words that they end with tell how large each part is: if most of them
could end no sentence, then answers of that shape were cut, and the others with them. What few rows can't tell of the commonest
words and characters is borrowed from `endings.json`; all else comes from the set, in any language.
"""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate
from pathlib import Path

# How many of a set's answers are expected to be cut, by the shape of their ends.
_EXPECTED = {"sentence": 0.02, "long": 0.01, "short": 0.004, "names": 0.003, "lines": 0.003}
# How many may lack their mark for no reason: what more there are were cut.
_CARELESS = {"sentence": 0.02, "long": 0.06, "short": 1.0, "names": 1.0, "lines": 1.0}
_ONE = 0.5  # answer that may lack it in any set
_LISTED = ("names", "lines")
_MOST = 0.88  # of those without a mark, before any was looked at
_FIRM = 6.0  # answers that this expectation weighs
_LIKELY = 0.5  # that an answer was cut off, at least, before it is rejected
_LIKELIER, _LIKELIEST = 0.8, 0.9  # if its own end tells little, or nothing, and the others say it
_WRONGLY = 0.01  # of all rows: how many of those that are rejected may be whole
_DOUBT = 8.0  # times a word must be seen before it speaks for itself
_KNOWN = 60.0  # times of which the same is known from other texts
_ROUNDS = 30
_MIDDLE = 0.4  # of cuts that are within words
_NAME = 2.0  # what a word weighs at most that may be a name: they hold any word
_LITTLE, _TELLING = 1.05, 3.0  # odds of its own end: less than the first is no sign of a cut, however many others were cut
_UNKNOWN = 4.0  # what it weighs at most that a word is seen nowhere else
_LETTER = 0.06  # of cuts that leave one letter
_PIECE = 3
_LEAST_PIECES = 400  # words of a set from which on the ends of words are known
_LONGEST = 12  # characters of a beginning that are told apart
_STRONG, _STRONGEST = 30.0, 100.0  # what one sign may weigh at most; and that a longer word of the same row begins so
_ENDINGS = "s es ed d er ers r rs ing ings ly y ie ies n ns en al ic ist ists ism ment ness 's ’s e able ful less tion"
INFLECTIONS = frozenset(_ENDINGS.split())

SPACED = re.compile(r"[^\W\d_぀-ヿ一-鿿가-힣]+(?:['’-][^\W\d_぀-ヿ一-鿿가-힣]+)*")  # words that have spaces around them
UNSPACED = re.compile("[぀-ヿ一-鿿]{2}")
_PAIRS = re.compile("(?=([぀-ヿ一-鿿]{2}))")
_PAIRS_ENDING = re.compile("([぀-ヿ一-鿿]{2})(?=[。！？!?.\n])")
_SENTENCES = re.compile(r"[.!?;。！？\n]+")
_SOME = 600  # characters of a text without spaces


@dataclass
class Ends:
    """How often each word of a set is seen, and how often at the end of a sentence or line. Without spaces: two characters."""

    seen: Counter[str] = field(default_factory=Counter)
    ending: Counter[str] = field(default_factory=Counter)
    pairs: Counter[str] = field(default_factory=Counter)
    pairs_ending: Counter[str] = field(default_factory=Counter)
    long: int = 0  # answers that have the length of a sentence
    answers: int = 0

    def add(self, texts: Iterable[str]) -> None:
        for text in texts:
            self.seen.update(SPACED.findall(text))
            if not text.isascii() and UNSPACED.search(text):
                self.pairs.update(_PAIRS.findall(text[:_SOME]))
                self.pairs_ending.update(_PAIRS_ENDING.findall(text[:_SOME]))
            self.ending.update(word for piece in _SENTENCES.split(text) if (word := _last_word(piece)))

    def merge(self, other: Ends, most: int) -> None:
        """Of the rarest words nothing is remembered once there are too many."""
        for name in ("seen", "ending", "pairs", "pairs_ending"):
            getattr(self, name).update(getattr(other, name))
        self.long += other.long
        self.answers += other.answers
        if len(self.seen) > most:
            self.seen = Counter({word: count for word, count in self.seen.items() if count > 1})
            self.ending = Counter({word: count for word, count in self.ending.items() if word in self.seen})


def _last_word(piece: str) -> str:
    words = piece.rsplit(None, 1)
    return words[-1].strip("'\"()”’“‘*_")[:40] if words else ""


@dataclass(frozen=True)
class OpenEnd:
    """The end of an answer that has no closing mark."""

    word: str
    pair: str  # its last two characters, where words have no spaces
    shape: str  # what it ends: a "sentence" after others, a "long" or "short" text, "names" in a row, "lines" of few words
    begins: bool  # a longer word of the same row begins with it
    letter: bool  # one letter that names nothing
    shown: str


def cut_off(ends: Ends, open_ends: Mapping[int, OpenEnd]) -> dict[int, str]:
    """The rows that were cut off, and where: within a word, within a sentence, or after what could not be its end."""
    if not open_ends:
        return {}
    telling = _Endings(ends)
    judged: list[tuple[float, int, str]] = []
    for shape, expected in _EXPECTED.items():
        rows = [row for row, end in open_ends.items() if end.shape == shape]
        odds = [(telling.after(open_ends[row]), telling.within(open_ends[row])) for row in rows]
        answers, many = max(1, ends.long, len(rows)), max(1, len(rows))
        careless = (_CARELESS[shape] * answers + _ONE) / many
        prior = min(_MOST, max(expected * answers / many, 1 - careless))
        for row, share, (after, within) in zip(rows, _shares([a * b for a, b in odds], prior), odds, strict=True):
            kind = "within-word" if within > 2 else "within-sentence" if shape == "sentence" else "hanging"
            own = after * within
            if share >= (_LIKELY if own >= _TELLING else _LIKELIER if own >= _LITTLE else _LIKELIEST):
                judged.append((share, row, kind))
    found: dict[int, str] = {}
    left = max(1.0, _WRONGLY * ends.answers)
    for share, row, kind in sorted(judged, reverse=True):
        left -= 1 - share
        if left < 0:
            break
        found[row] = kind
    return found


def _shares(odds: Sequence[float], prior: float) -> list[float]:
    """For each, how likely it was cut: by its own odds, and by the part of all that must have been."""
    part, shares = prior, [0.0] * len(odds)
    for _ in range(_ROUNDS):
        shares = [part * each / (part * each + 1 - part) for each in odds]
        now = (sum(shares) + _FIRM * prior) / (len(odds) + _FIRM)
        if math.isclose(now, part, abs_tol=1e-4):
            break
        part = now
    return shares


class _Endings:
    """Odds that an answer stops there because it was cut, against because it ends there."""

    def __init__(self, ends: Ends) -> None:
        self._seen = _folded(ends.seen)
        self._ending = Counter({word: count for word, count in _folded(ends.ending).items() if word in self._seen})
        self._pairs, self._pairs_ending = ends.pairs, ends.pairs_ending
        self._last, self._last_ending = _last_of(ends.pairs), _last_of(ends.pairs_ending)
        self._share = _share(self._ending.total(), self._seen.total(), 0.08, 1.0)
        self._pair_share = _share(ends.pairs_ending.total(), ends.pairs.total(), 0.05, 1.0)
        self._known = sorted(word for word, count in self._seen.items() if count > 1)
        self._cuts = [0.0, *accumulate(self._seen[word] / max(1, len(word) - 1) for word in self._known)]
        letters = sum(count for word, count in ends.ending.items() if len(word) == 1)
        self._letters = (letters + 1) / (ends.ending.total() + 20)
        once = [word for word, count in self._seen.items() if count == 1]
        self._once = (len(once) + 1) / (self._seen.total() + 2)
        ending_once = sum(count for word, count in self._ending.items() if self._seen[word] == 1)
        self._once_ending = (ending_once + 1) / (self._ending.total() + 2)
        self._by_chance = self._beginnings(once[:: max(1, len(once) // 3000)])
        self._inside: Counter[str] = Counter()
        self._at_end: Counter[str] = Counter()
        for word in self._known:
            self._inside.update({word[i : i + _PIECE] for i in range(len(word) - _PIECE)})
            self._at_end[word[-_PIECE:]] += 1

    def after(self, end: OpenEnd) -> float:
        """By how often others end there."""
        if end.pair:
            usual, doubt = _common()["characters"].get(end.pair[-1], (self._pair_share, _DOUBT))
            last = _share(self._last_ending[end.pair[-1]] - 1, self._last[end.pair[-1]], usual, doubt)
            return _odds(_share(self._pairs_ending[end.pair] - 1, self._pairs[end.pair], last, _DOUBT), self._pair_share)
        word = end.word.lower()
        if (
            len(word) == 1 or self._seen[word] <= 1
        ):  # letters end many a line of formulas; of a word seen nowhere else nothing is known
            return 1.0
        usual, doubt = _common()["words"].get(word, (self._share, _DOUBT))
        odds = _odds(_share(self._ending[word] - 1, self._seen[word], usual, doubt), self._share)
        if end.shape in _LISTED:
            return min(1.0, odds)
        return min(_NAME, odds) if end.word[0].isupper() and end.shape != "sentence" else odds

    def within(self, end: OpenEnd) -> float:
        """By what it would be the beginning of."""
        word = end.word.lower()
        if end.letter:
            return _STRONG
        if end.pair or (len(word) == 1 and (end.shape in _LISTED or not word.isascii())):
            return 1.0
        if len(word) == 1:
            return min(_STRONG, max(1.0, _LETTER / self._letters))
        if self._seen[word] > 1 and end.shape in _LISTED:
            return 1.0
        if self._seen[word] > 1:
            ending = _share(self._ending[word] - 1, self._seen[word], self._share, _DOUBT) * self._seen[word]
            return 1 + min(_STRONG, _MIDDLE * self._longer(word) / ending * self._ending.total() / self._seen.total())
        prose = word == end.word and end.shape not in _LISTED
        odds = min(_UNKNOWN, max(1.0, (_MIDDLE + (1 - _MIDDLE) * self._once) / self._once_ending)) if prose else 1.0
        if end.begins:
            odds *= min(_STRONGEST, len(word) ** 4 / 10)
        elif self._begins(word):
            odds *= min(_STRONG, 0.6 / self._by_chance[min(len(word), _LONGEST)])
        if prose and len(self._known) >= _LEAST_PIECES:
            inside = (self._inside[word[-_PIECE:]] + 1) / (self._inside.total() + 1000)
            odds *= min(4.0, max(1 / 4, inside / ((self._at_end[word[-_PIECE:]] + 1) / (self._at_end.total() + 1000))))
        return odds

    def _longer(self, word: str) -> float:
        """How often a cut within words leaves this one."""
        first, last = bisect_right(self._known, word), bisect_left(self._known, word + "\U0010ffff")
        return self._cuts[last] - self._cuts[first]

    def _begins(self, word: str) -> bool:
        """A word that is no form of it begins like it, and is seen more than once."""
        at = bisect_right(self._known, word)
        while at < len(self._known) and self._known[at].startswith(word):
            if self._known[at][len(word) :] not in INFLECTIONS:
                return True
            at += 1
        return False

    def _beginnings(self, words: Sequence[str]) -> dict[int, float]:
        """Of whole words of each length, how many look like the beginning of another."""
        many: Counter[int] = Counter(min(len(word), _LONGEST) for word in words)
        look: Counter[int] = Counter(min(len(word), _LONGEST) for word in words if self._begins(word))
        return {size: (look[size] + _DOUBT * min(1, 2 ** (1.5 - size))) / (many[size] + _DOUBT) for size in range(_LONGEST + 1)}


@cache
def _common() -> dict[str, dict[str, tuple[float, float]]]:
    """What is known of the commonest words and characters before any row was seen, and how firmly."""
    told = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    words = {word: (float(share), _KNOWN) for share, some in told["words"].items() for word in some.split()}
    return {
        "words": words,
        "characters": {char: (float(share), _KNOWN) for share, some in told["characters"].items() for char in some},
    }


def _share(count: int, total: int, prior: float, doubt: float) -> float:
    return (min(max(0, count), total) + doubt * prior) / (total + doubt)


def _odds(share: float, usual: float) -> float:
    return (1 - share) / share * usual / (1 - usual)


def _folded(counts: Mapping[str, int]) -> Counter[str]:
    folded: Counter[str] = Counter()
    for word, count in counts.items():
        folded[word.lower()] += count
    return folded


def _last_of(pairs: Mapping[str, int]) -> Counter[str]:
    found: Counter[str] = Counter()
    for pair, count in pairs.items():
        found[pair[-1]] += count
    return found
