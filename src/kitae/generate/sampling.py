"""From logits to a token. The order is fixed: penalties (repetition, presence, frequency, DRY), bias and bans, constraint,
temperature, top-k, typical, top-p, min-p. (What a constraint leaves out, no penalty or bias brings back, so it is left out of
the logits before they come here.)

Filters come after the temperature, so that what a user sees as "the 90 % most likely" is 90 % of what is really drawn from.
Each looks at what those before it have left.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kitae.generate.settings import Settings, TokenLogprob

Logits = npt.NDArray[np.float32]
Probabilities = npt.NDArray[np.float64]
_UNLIKELY = 1e-5  # as likely as the likeliest token; filters are tried without those below first
_COLDEST = 1e-30  # as small as such numbers are
_BLOCK = 256


class Wish(NamedTuple):
    """Of a sequence: how to choose, what it has so far, and chance."""

    settings: Settings
    history: Sequence[int]
    random: np.random.Generator
    asked: int = 0  # how many tokens of the history are the prompt


def choose(logits: Logits, settings: Settings, history: Sequence[int], rng: np.random.Generator, asked: int = 0) -> int:
    return choose_all([logits], [Wish(settings, history, rng, asked)])[0]


def choose_all(rows: Sequence[Logits], wishes: Sequence[Wish]) -> list[int]:
    """A token of each row. Each is chosen as if there were no others."""
    return [_chosen(row, wish) for row, wish in zip(rows, wishes, strict=True)]


def _chosen(row: Logits, wish: Wish) -> int:
    settings, logits = wish.settings, adjusted(row, wish)
    if settings.temperature <= 0.0:
        return int(np.argmax(logits))
    if settings.filters:
        tokens, probabilities = _left(logits, settings)
        return int(tokens[_drawn(probabilities, wish.random)])
    return _drawn(_weights(logits, settings.temperature), wish.random)


def _drawn(weights: npt.NDArray[np.floating[Any]], random: np.random.Generator) -> int:
    """One place, as likely as its weight. Sums are of blocks first: a sum of a whole vocabulary, one by one, takes longest."""
    begins = np.arange(0, len(weights), _BLOCK)
    blocks = np.cumsum(np.add.reduceat(weights, begins, dtype=np.float64))
    drawn = random.random() * blocks[-1]
    block = min(int(np.searchsorted(blocks, drawn, side="right")), len(blocks) - 1)
    before = blocks[block - 1] if block else 0.0
    within = np.cumsum(weights[block * _BLOCK : (block + 1) * _BLOCK], dtype=np.float64)
    place = int(np.searchsorted(within, drawn - before, side="right"))
    if place == len(within):  # by the last digit of a sum
        place = int(np.flatnonzero(weights[block * _BLOCK : (block + 1) * _BLOCK])[-1])
    return block * _BLOCK + place


def adjusted(logits: Logits, wish: Wish) -> Logits:
    """After penalties, bias and bans; the same array where there are none."""
    settings, history = wish.settings, wish.history
    if settings.repetition_penalty != 1.0 and history:
        logits = penalised(logits, history, settings.repetition_penalty)
    said = history[wish.asked :]
    if (settings.presence_penalty or settings.frequency_penalty) and said:
        tokens, counts = np.unique(np.asarray(said), return_counts=True)
        logits = logits.copy()
        logits[tokens] -= (settings.presence_penalty + settings.frequency_penalty * counts).astype(np.float32)
    if settings.dry_multiplier > 0.0 and history:
        logits = logits.copy()
        for token, length in repeated(history).items():
            if length >= settings.dry_allowed:
                exponent = min(length - settings.dry_allowed, _DRY_LONGEST)
                logits[token] -= np.float32(settings.dry_multiplier * settings.dry_base**exponent)
    if settings.logit_bias or settings.bans:
        logits = logits.copy()
        for token, bias in settings.logit_bias:
            logits[token] += np.float32(bias)
        logits[list(settings.bans)] = -np.inf
    return logits


def logprob_of(logits: Logits, token: int, top: int) -> TokenLogprob:
    """Of a token, and of the likeliest ones."""
    values = logits.astype(np.float64)
    values -= values.max()
    values -= np.log(np.exp(values).sum())
    likeliest = _likeliest(values, top) if top else ()
    return TokenLogprob(token, float(values[token]), tuple((int(i), float(values[i])) for i in likeliest))


_DRY_LONGEST = 50  # tokens, beyond which a penalty needn't grow


def penalised(logits: Logits, history: Sequence[int], penalty: float) -> Logits:
    """Makes tokens that occurred less likely: positive logits are divided, negative ones multiplied."""
    logits = logits.copy()
    seen = np.unique(np.asarray(history))
    values = logits[seen]
    logits[seen] = np.where(values > 0, values / penalty, values * penalty)
    return logits


def repeated(history: Sequence[int]) -> dict[int, int]:
    """Of each token that would go on with something said before: how many tokens before it are the same as at the end now.

    Lengths are found in one pass over the history from its end (the Z function of the reversed sequence).
    """
    back = history[::-1]
    size = len(back)
    lengths = [0] * size
    left = right = 0
    found: dict[int, int] = {}
    for i in range(1, size):
        length = min(right - i, lengths[i - left]) if i < right else 0
        while i + length < size and back[length] == back[i + length]:
            length += 1
        lengths[i] = length
        if i + length > right:
            left, right = i, i + length
        if length:
            follower = back[i - 1]
            found[follower] = max(found.get(follower, 0), length)
    return found


def filtered(logits: Logits, settings: Settings) -> Probabilities:
    """The probabilities that are drawn from: never empty, always summing to one."""
    tokens, left = _left(logits, settings)
    result = np.zeros(len(logits))
    result[tokens] = left
    return result


def _left(logits: Logits, settings: Settings) -> tuple[npt.NDArray[np.intp], Probabilities]:
    """The tokens that no filter leaves out, the likeliest first, with their probabilities."""
    weights = _weights(logits, settings.temperature)
    total = weights.sum(dtype=np.float64)
    every = not settings.filters or settings.typical_p < 1.0
    tokens = np.arange(len(logits)) if every else np.flatnonzero(weights > _UNLIKELY)
    while True:
        if len(tokens) < max(settings.top_k, 1):
            tokens = np.arange(len(logits))
        order = tokens[np.argsort(-logits[tokens], kind="stable")]  # of equal ones, the first of the vocabulary
        ranked = weights[order].astype(np.float64) / total
        keep = _kept(ranked, settings, whole=len(order) == len(logits))
        # Unless the least likely of them is kept, no other token can be.
        if len(order) == len(logits) or not keep[-1]:
            left = ranked[keep]
            return order[keep], left / left.sum()
        tokens = np.arange(len(logits))


def _kept(ranked: Probabilities, settings: Settings, whole: bool) -> npt.NDArray[np.bool_]:
    """Which of the likeliest stay. `whole`: they are all that there are."""
    keep = np.ones(len(ranked), dtype=bool)
    if settings.top_k > 0:
        keep[settings.top_k :] = False
    if settings.typical_p < 1.0:
        keep &= _typical(np.where(keep, ranked, 0.0), settings.typical_p)
    if settings.top_p < 1.0:
        left = np.where(keep, ranked, 0.0)
        mass = left.sum() if whole or settings.top_k > 0 else 1.0
        first = int(np.argmax(keep))
        keep &= np.cumsum(left) - left < settings.top_p * mass  # the token that crosses the border stays
        keep[first] = True
    if settings.min_p > 0.0:
        keep &= ranked >= settings.min_p * ranked[int(np.argmax(keep))]
    return keep


def _typical(ranked: Probabilities, mass: float) -> npt.NDArray[np.bool_]:
    """Those whose surprise is nearest to the mean surprise, until they have this mass together."""
    shares = ranked / ranked.sum()
    with np.errstate(divide="ignore"):
        surprise = -np.log(shares)
    possible = shares > 0
    mean = float((shares[possible] * surprise[possible]).sum())
    order = np.argsort(np.abs(surprise - mean), kind="stable")
    together = np.cumsum(shares[order])
    keep = np.zeros(len(ranked), dtype=bool)
    keep[order[: 1 + int((together < mass).sum())]] = True
    kept: npt.NDArray[np.bool_] = keep & possible
    return kept


def _weights(logits: Logits, temperature: float) -> npt.NDArray[np.floating[Any]]:
    """In proportion to the probabilities; the likeliest has 1."""
    below = logits - logits.max()  # first, so that no temperature is too small
    with np.errstate(over="ignore"):
        weights: npt.NDArray[np.floating[Any]] = np.exp(below / np.float32(max(temperature, _COLDEST)))
    return weights


def _likeliest(probabilities: Probabilities, count: int) -> npt.NDArray[np.intp]:
    """By falling probability; of equal ones, the first of the vocabulary. Sorting a whole vocabulary takes longer than
    everything else about a token."""
    if count == len(probabilities):
        return np.argsort(-probabilities, kind="stable")
    few = np.sort(np.argpartition(-probabilities, count)[:count])
    return few[np.argsort(-probabilities[few], kind="stable")]
