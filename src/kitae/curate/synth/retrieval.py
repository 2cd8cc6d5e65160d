"""Passages of a corpus that are about the same as a few examples: by rare words in common."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from kitae.curate.ranking import in_turns
from kitae.curate.synth.ideas import Document, Task
from kitae.data import tokens

_EXAMPLES = 200  # that choose; more would choose no better, and need gigabytes


def nearest_documents(tasks: Sequence[Task], documents: Sequence[Document]) -> list[Document]:
    """All of them; the examples choose in turns."""
    few = sorted(tasks, key=lambda task: task.key)[:_EXAMPLES]
    asked = [Counter(_terms(f"{task.question} {task.answer}")) for task in few]
    wanted = {term: i for i, term in enumerate(dict.fromkeys(term for counts in asked for term in counts))}
    found = [Counter(term for term in _terms(document.text)) for document in documents]
    holders = Counter(term for counts in found for term in counts if term in wanted)
    rarity = {term: math.log((1 + len(found)) / (1 + holders[term])) for term in wanted}
    examples = np.zeros((len(wanted), len(asked)), np.float32)
    for j, counts in enumerate(asked):
        for term, count in counts.items():
            examples[wanted[term], j] = rarity[term] * (1 + math.log(count))
    examples /= np.maximum(np.linalg.norm(examples, axis=0), 1e-9)
    alike = np.zeros((len(found), len(asked)), np.float32)
    for i, counts in enumerate(found):
        common = [(wanted[term], rarity[term] * (1 + math.log(count))) for term, count in counts.items() if term in wanted]
        if common:
            places, weights = [place for place, _ in common], np.array([weight for _, weight in common], np.float32)
            alike[i] = weights @ examples[places] / math.sqrt(sum(counts.values()))
    return [documents[i] for i in in_turns(alike)]


def _terms(text: str) -> list[str]:
    """Words; of languages without spaces, pairs of characters."""
    said = tokens(text)
    return [*(one for one in said if len(one) > 1), *(a + b for a, b in pairwise(said) if len(a) == len(b) == 1)]
