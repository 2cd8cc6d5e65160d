"""Numbers about answers, and whether two sets of answers to the same prompts really differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from kitae.generate import Completion

_PERIOD = 64
_REPEATS = 3
_SHORTEST_LOOP = 12  # tokens: "ha ha ha" is a laugh, not a loop


@dataclass(frozen=True)
class Share:
    """A share with its 95 % Wilson interval."""

    hits: int
    total: int

    @property
    def value(self) -> float:
        return self.hits / self.total if self.total else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        if not self.total:
            return 0.0, 1.0
        z, n, p = 1.96, self.total, self.value
        centre = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
        return max(0.0, centre - half), min(1.0, centre + half)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.hits} of {self.total} ({low:.0%}–{high:.0%})"


def exact_match(answers: Sequence[Completion], truths: Sequence[str]) -> list[bool]:
    """The whole answer, character by character; only white space around it is forgiven."""
    return [answer.text.strip() == truth.strip() for answer, truth in zip(answers, truths, strict=True)]


def stopped(answers: Sequence[Completion]) -> list[bool]:
    return [answer.finish == "stop" for answer in answers]


def looping(tokens: Sequence[int]) -> bool:
    """Whether a sequence ends in the same few tokens over and over."""
    tail = list(tokens)
    for period in range(1, min(_PERIOD, len(tail) // _REPEATS) + 1):
        length = max(period * _REPEATS, _SHORTEST_LOOP)
        if length > len(tail):
            continue
        end = tail[-length:]
        if all(end[i] == end[i - period] for i in range(period, length)):
            return True
    return False


def worse_p_value(before: Sequence[bool], after: Sequence[bool]) -> float:
    """One-sided exact McNemar test: how likely so many losses against wins are if nothing got worse."""
    lost = sum(b and not a for b, a in zip(before, after, strict=True))
    won = sum(a and not b for b, a in zip(before, after, strict=True))
    n = lost + won
    return sum(math.comb(n, k) for k in range(lost, n + 1)) / 2**n if n else 1.0


def mean_difference(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """The mean of second - first over pairs, and its standard error."""
    differences = [b - a for a, b in zip(first, second, strict=True)]
    mean = sum(differences) / len(differences)
    if len(differences) < 2:
        return mean, math.inf
    variance = sum((d - mean) ** 2 for d in differences) / (len(differences) - 1)
    return mean, math.sqrt(variance / len(differences))
