"""How well a model predicts text. Bits per byte can be compared between models; perplexity only within one vocabulary."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from kitae.chat import ChatCodec, Conversation
from kitae.core.files import JsonDict
from kitae.generate import Engine

_RESAMPLED = 1000
_PIECES = 8  # on which a slow walk through time is compared with passes
Floats = npt.NDArray[np.float64]
Scorer = Callable[[list[int]], tuple[Floats, list[bool]]]  # nats of each token but the first, and whether it was the likeliest


@dataclass(frozen=True)
class Predicted:
    """What of one row was predicted: all of a text, the answers of a conversation; and the ends of both."""

    row: int  # its number
    nats: float
    tokens: int
    right: int
    bytes: int
    unknown: int  # targets that stand for any word the vocabulary lacks

    @property
    def bits_per_byte(self) -> float:
        return self.nats / math.log(2) / self.bytes


def predict(codec: ChatCodec, rows: Iterable[Conversation], longest: int, score: Scorer) -> list[Predicted]:
    """Rows with nothing to predict, or of which a part is too long to be predicted, are left out whole."""
    unknown = getattr(getattr(codec.vocabulary, "tokenizer", None), "unk_token_id", None)
    found = []
    for number, row in enumerate(rows):
        pieces = [piece for whole in codec.encode(row) for piece in whole.cut(longest)]
        if any(not 2 <= len(piece.ids) <= longest for piece in pieces):
            continue
        total = Counter[str]()
        nats = 0.0
        for piece in pieces:
            losses, right = score(piece.ids)
            for token, labelled, loss, hit in zip(piece.ids[1:], piece.loss_mask[1:], losses, right, strict=True):
                if labelled:
                    nats += float(loss)
                    total.update(tokens=1, right=int(hit), unknown=int(token == unknown))
        size = sum(len(m.content.encode()) for m in row.messages if row.is_text or m.role == "assistant")
        if total["tokens"] and size:
            found.append(Predicted(number, nats, total["tokens"], total["right"], size, total["unknown"]))
    return found


def by_engine(engine: Engine) -> Scorer:
    def score(ids: list[int]) -> tuple[Floats, list[bool]]:
        logits = engine.logits(ids, 0)
        wanted = np.asarray(ids[1:])
        peak = logits.max(axis=1, keepdims=True)
        whole = np.log(np.exp(logits - peak, dtype=np.float64).sum(axis=1)) + peak[:, 0]
        return whole - logits[np.arange(len(wanted)), wanted], (logits.argmax(axis=1) == wanted).tolist()

    return score


def summary(rows: Sequence[Predicted]) -> dict[str, Any]:
    tokens, size = sum(row.tokens for row in rows), sum(row.bytes for row in rows)
    nats = sum(row.nats for row in rows)
    return {
        "bits_per_byte": nats / math.log(2) / size,
        "interval": _interval(rows),
        "perplexity": math.exp(min(nats / tokens, 700.0)),
        "accuracy": sum(row.right for row in rows) / tokens,
        "unknown": sum(row.unknown for row in rows) / tokens,
        "rows": len(rows),
        "tokens": tokens,
        "bytes": size,
    }


def _interval(rows: Sequence[Predicted]) -> list[float]:
    """95 %, by drawing rows anew. The same rows always give the same interval."""
    generator = np.random.default_rng(0)
    nats, sizes = np.array([row.nats for row in rows]), np.array([row.bytes for row in rows])
    drawn = []
    for _ in range(_RESAMPLED):
        chosen = generator.integers(0, len(rows), len(rows))
        drawn.append(nats[chosen].sum() / math.log(2) / sizes[chosen].sum())
    low, high = np.quantile(drawn, [0.025, 0.975])
    return [float(low), float(high)]


def bigrams(codec: ChatCodec, training: Iterable[Conversation]) -> Scorer:
    """What counting pairs of tokens gets (Witten-Bell smoothing, nothing to tune): a model has to beat that to be one."""
    pairs: dict[int, Counter[int]] = defaultdict(Counter)
    single = Counter[int]()
    for row in training:
        for sequence in codec.encode(row):
            single.update(sequence.ids)
            for first, second in pairwise(sequence.ids):
                pairs[first][second] += 1
    total, size = single.total(), codec.vocabulary.size
    likeliest = {first: after.most_common(1)[0][0] for first, after in pairs.items()}
    commonest = single.most_common(1)[0][0]

    def probability(first: int, second: int) -> float:
        alone = (single[second] + len(single) / size) / (total + len(single))
        after = pairs.get(first)
        return alone if after is None else (after[second] + len(after) * alone) / (after.total() + len(after))

    def score(ids: list[int]) -> tuple[Floats, list[bool]]:
        steps = list(pairwise(ids))
        right = [likeliest.get(first, commonest) == second for first, second in steps]
        return np.array([-math.log(probability(first, second)) for first, second in steps]), right

    return score


def contexts(engine: Engine, codec: ChatCodec, rows: Iterable[Conversation], longest: int) -> JsonDict | None:
    """For a New-LLM: passes until its contexts are found, and how far the few passes of training are from a walk, in nats
    a token."""
    from kitae.generate import TorchEngine

    if not isinstance(engine, TorchEngine) or not hasattr(engine.model, "model") or not hasattr(engine.model.model, "solving"):
        return None
    from kitae.models.newllm.solve import SolverPlan

    inner, config = engine.model.model, engine.model.config
    pieces = (piece for row in rows for whole in codec.encode(row) for piece in whole.cut(longest))
    chosen = list(islice((piece for piece in pieces if 1 < len(piece.ids) <= longest and piece.labelled), _PIECES))
    if not chosen:
        return None
    score = by_engine(engine)

    def mean(plan: SolverPlan) -> float:
        with inner.solving(plan):
            losses = [score(piece.ids)[0][piece.loss_mask[1:]] for piece in chosen]
        return float(np.concatenate(losses).mean())

    passes = []
    with inner.solving(SolverPlan(config.solver, config.max_passes, config.tolerance)) as solutions:
        for piece in chosen:
            score(piece.ids)
            passes.append(max(solution.passes for solution in solutions))
    few, walked = mean(SolverPlan(config.solver, config.passes)), mean(SolverPlan("sequential"))
    return {"passes": sum(passes) / len(passes), "nats_in_training_passes": few, "nats_walked": walked}
