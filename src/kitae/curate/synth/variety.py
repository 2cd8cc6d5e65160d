"""How much rows differ from each other."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from kitae.core.files import JsonDict
from kitae.curate.synth.sieve import rouge_l
from kitae.data import tokens

_SAMPLE = 200  # questions of which each is compared with all others


def variety(questions: Sequence[str]) -> JsonDict:
    """Shares of different pairs of words and of different first words, and how alike each question is to its nearest."""
    said = [tokens(question) for question in questions]
    if len(said) > _SAMPLE:
        said = random.Random(0).sample(said, _SAMPLE)
    pairs = Counter(pair for one in said for pair in pairwise(one))
    nearest = [max((rouge_l(one, other) for j, other in enumerate(said) if j != i), default=0.0) for i, one in enumerate(said)]
    return {
        "different_pairs": round(len(pairs) / max(1, pairs.total()), 4),
        "different_beginnings": round(len({tuple(one[:2]) for one in said}) / max(1, len(said)), 4),
        "nearest": round(sum(nearest) / max(1, len(nearest)), 4),
    }
