"""How likely an answer without a closing mark was cut off, told by the set alone.

Every sentence of the set shows which words may end one, and which go on. Answers that lack a closing mark are a mixture: some
were cut off anywhere, others only lack the mark. The words that they end with tell how large each part is: if most could not
end a sentence, the answers of that shape were cut, and the rest with them. No list of words is needed, so it holds in any language.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

_DOUBT = 8.0  # times a word must be seen before it speaks for itself
_ROUNDS = 30
# How many of a set's answers are expected to be cut, by the shape of their ends; and how firmly.
SHAPES = {"sentence": 0.02, "long": 0.01}
_MOST = 0.8
_FIRM = 6.0
_MIDDLE = 0.3  # of cuts that are within words
_PIECE = 3
_LEAST_PIECES = 400  # words of a set from which on the ends of words are known


class Endings:
    """Odds that a text stops after these signs because it was cut, against because it ends there."""

    def __init__(self, seen: Counter[str], ending: Counter[str], pairs: Counter[str], pairs_ending: Counter[str]) -> None:
        self._seen, self._ending = _folded(seen), _folded(ending)
        self._pairs, self._pairs_ending = pairs, pairs_ending
        self._last: Counter[str] = Counter()
        self._last_ending: Counter[str] = Counter()
        for pair, count in pairs.items():
            self._last[pair[-1:]] += count
        for pair, count in pairs_ending.items():
            self._last_ending[pair[-1:]] += count
        self._inside: Counter[str] = Counter()
        self._at_end: Counter[str] = Counter()
        for word, count in self._seen.items():
            if count > 1 and word.isascii():
                self._inside.update({word[i : i + _PIECE] for i in range(len(word) - _PIECE)})
                self._at_end[word[-_PIECE:]] += 1
        once = sum(count == 1 for count in self._seen.values())
        self._once = (once + 1) / (self._seen.total() + 2)

    def odds(self, word: str, pair: str) -> float:
        if pair:
            share = _share(self._pairs_ending.total(), self._pairs.total(), 0.05, 1.0)
            last = _share(self._last_ending[pair[-1]] - 1, self._last[pair[-1]], share, _DOUBT)
            both = _share(self._pairs_ending[pair] - 1, self._pairs[pair], last, _DOUBT)
            return _odds(both, share)
        word = word.lower()
        share = _share(self._ending.total(), self._seen.total(), 0.08, 1.0)
        odds = _odds(_share(self._ending[word] - 1, self._seen[word], share, _DOUBT), share)
        if self._seen[word] <= 1:
            odds *= (_MIDDLE + (1 - _MIDDLE) * self._once) / (_MIDDLE * 0.3 + self._once)
            odds *= self._within(word)
        return odds

    def _within(self, word: str) -> float:
        """Whether its last letters are those of a whole word."""
        if len(self._at_end) < _LEAST_PIECES or not word.isascii():
            return 1.0
        piece = word[-_PIECE:]
        inside = (self._inside[piece] + 1) / (self._inside.total() + 1000)
        at_end = (self._at_end[piece] + 1) / (self._at_end.total() + 1000)
        return min(6.0, max(1 / 6, inside / at_end))


def cut_off(odds: Sequence[float], prior: float) -> list[float]:
    """For each, how likely it was cut: by its own odds, and by the part of all that must have been."""
    part, shares = prior, [0.0] * len(odds)
    for _ in range(_ROUNDS):
        shares = [part * each / (part * each + 1 - part) for each in odds]
        now = (sum(shares) + _FIRM * prior) / (len(odds) + _FIRM)
        if math.isclose(now, part, abs_tol=1e-4):
            break
        part = now
    return shares


def prior_of(shape: str, unmarked: int, answers: int) -> float:
    """Of those without a mark, how many may have been cut: few where many lack it, most where hardly any does."""
    return min(_MOST, SHAPES[shape] * max(1, answers) / max(1, unmarked))


def _share(count: int, total: int, prior: float, doubt: float) -> float:
    return (min(max(0, count), total) + doubt * prior) / (total + doubt)


def _odds(share: float, usual: float) -> float:
    return (1 - share) / share * usual / (1 - usual)


def _folded(counts: Mapping[str, int]) -> Counter[str]:
    folded: Counter[str] = Counter()
    for word, count in counts.items():
        folded[word.lower()] += count
    return folded
