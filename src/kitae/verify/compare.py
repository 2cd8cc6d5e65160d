"""How far apart two sets of logits over the same tokens are."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

_BLOCK = 128
# Nats within which two tokens are equally likely: half precision moves a logit of 50 by up to 50 · 2⁻¹¹, and the forms of
# clean runs differed by up to 0.023, so closer than this rounding alone decides which token is named first.
_TIE = 0.03


def tie_within(kld: float) -> float:
    """Nats within which two forms may order two tokens differently, if so large a mean KLD between them is tolerated. Where two
    tokens share all the probability, moving them apart by d nats costs d² / 8."""
    return max(_TIE, math.sqrt(8 * kld))


@dataclass(frozen=True)
class Divergence:
    """Kullback-Leibler divergence from the reference to the other, in nats, over all compared tokens."""

    mean: float
    median: float
    p99: float
    maximum: float
    top1: float  # share of tokens on which the other's likeliest is the reference's too, ties allowed
    ppl_ratio: float
    tokens: int

    def as_dict(self) -> dict[str, float]:
        return asdict(self)

    def line(self) -> str:
        return (
            f"KLD mean {self.mean:.3g}, median {self.median:.3g}, 99 % {self.p99:.3g}, max {self.maximum:.3g}; "
            f"top-1 {self.top1:.2%}; PPL ratio {self.ppl_ratio:.4f}; {self.tokens} tokens"
        )


class Rows(Protocol):
    """One for each token; an array, or a part of a file at a time."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, part: slice, /) -> npt.NDArray[np.float32]: ...


def divergence(reference: Rows, other: Rows, targets: npt.NDArray[np.int64]) -> Divergence:
    width = min(reference.shape[1], other.shape[1])  # one side may pad its vocabulary
    klds, agree, difference = [], [], []
    for start in range(0, len(targets), _BLOCK):
        part = slice(start, start + _BLOCK)
        p = _log_softmax(reference[part][:, :width])
        q = _log_softmax(other[part][:, :width])
        klds.append((np.exp(p) * (p - q)).sum(-1))
        rows = np.arange(len(p))
        agree.append(p.max(-1) - p[rows, q.argmax(-1)] <= _TIE)
        difference.append(p[rows, targets[part]] - q[rows, targets[part]])
    kld = np.concatenate(klds).clip(min=0.0)
    return Divergence(
        mean=float(kld.mean()),
        median=float(np.median(kld)),
        p99=float(np.quantile(kld, 0.99)),
        maximum=float(kld.max()),
        top1=float(np.concatenate(agree).mean()),
        ppl_ratio=float(np.exp(np.concatenate(difference).mean())),
        tokens=len(kld),
    )


def log_likelihoods(logits: Rows, targets: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """The log-probability of each target."""
    parts = []
    for start in range(0, len(targets), _BLOCK):
        part = slice(start, start + _BLOCK)
        logs = _log_softmax(logits[part])
        parts.append(logs[np.arange(len(logs)), targets[part]])
    return np.concatenate(parts)


def _log_softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    wide = logits.astype(np.float64)
    wide -= wide.max(-1, keepdims=True)
    result: npt.NDArray[np.float64] = wide - np.log(np.exp(wide).sum(-1, keepdims=True))
    return result
