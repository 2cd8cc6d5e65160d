"""From logits to a token. The order is fixed: repetition penalty, temperature, top-k, top-p, min-p.

Filters come after the temperature, so that what a user sees as "the 90 % most likely" is 90 % of what is really drawn from.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from kitae.generate.settings import Settings

Logits = npt.NDArray[np.float32]
_ENOUGH = 1024  # tokens that filters are tried on first


Wish = tuple[Settings, Sequence[int], np.random.Generator]  # of a sequence: how to choose, what it has so far, and chance


def choose(logits: Logits, settings: Settings, history: Sequence[int], rng: np.random.Generator) -> int:
    return choose_all([logits], [(settings, history, rng)])[0]


def choose_all(rows: Sequence[Logits], wishes: Sequence[Wish]) -> list[int]:
    """A token of each row. Each is chosen as if there were no others."""
    chosen = [0] * len(rows)
    drawn: dict[float, list[int]] = {}  # by temperature: rows of which nothing is left out
    for i, (settings, history, random) in enumerate(wishes):
        logits = rows[i]
        if settings.repetition_penalty != 1.0 and history:
            logits = penalised(logits, history, settings.repetition_penalty)
        if settings.temperature <= 0.0:
            chosen[i] = int(np.argmax(logits))
        elif settings.filters or logits is not rows[i]:
            chosen[i] = _drawn(np.cumsum(filtered(logits, settings)), random)
        else:
            drawn.setdefault(settings.temperature, []).append(i)
    for temperature, some in drawn.items():
        sums = np.cumsum(_probabilities(np.stack([rows[i] for i in some]), temperature), axis=1)
        for i, row in zip(some, sums, strict=True):
            chosen[i] = _drawn(row, wishes[i][2])
    return chosen


def _drawn(sums: npt.NDArray[np.float64], random: np.random.Generator) -> int:
    return int(np.searchsorted(sums / sums[-1], random.random(), side="right"))


def penalised(logits: Logits, history: Sequence[int], penalty: float) -> Logits:
    """Makes tokens that occurred less likely: positive logits are divided, negative ones multiplied."""
    logits = logits.copy()
    seen = np.unique(np.asarray(history))
    values = logits[seen]
    logits[seen] = np.where(values > 0, values / penalty, values * penalty)
    return logits


def filtered(logits: Logits, settings: Settings) -> npt.NDArray[np.float64]:
    """The probabilities that are drawn from: never empty, always summing to one."""
    probabilities = _probabilities(logits, settings.temperature)
    if not settings.filters:
        return probabilities
    few = min(_ENOUGH, len(probabilities))
    while True:
        order = _likeliest(probabilities, few)
        ranked = probabilities[order]
        keep = np.ones(few, dtype=bool)
        if settings.top_k > 0:
            keep[settings.top_k :] = False
        if settings.top_p < 1.0:
            keep &= np.cumsum(ranked) - ranked < settings.top_p  # the token that crosses the border stays
        if settings.min_p > 0.0:
            keep &= ranked >= settings.min_p * ranked[0]
        keep[0] = True
        # Unless the least likely of the few is kept, or is as likely as one that is, no other token can be.
        if few == len(probabilities) or ranked[keep].min() > ranked[-1]:
            break
        few = len(probabilities)
    result = np.zeros_like(probabilities)
    result[order[keep]] = ranked[keep]
    normalised: npt.NDArray[np.float64] = result / result.sum()
    return normalised


def _probabilities(logits: Logits, temperature: float) -> npt.NDArray[np.float64]:
    """Of one row, or of several."""
    below = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)  # first, so that no temperature is too small
    with np.errstate(over="ignore"):
        probabilities: npt.NDArray[np.float64] = np.exp(below / temperature)
    probabilities /= probabilities.sum(axis=-1, keepdims=True)
    return probabilities


def _likeliest(probabilities: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.intp]:
    """By falling probability; of equal ones, the first of the vocabulary. Sorting a whole vocabulary takes longer than
    everything else about a token."""
    if count == len(probabilities):
        return np.argsort(-probabilities, kind="stable")
    few = np.sort(np.argpartition(-probabilities, count)[:count])
    return few[np.argsort(-probabilities[few], kind="stable")]
