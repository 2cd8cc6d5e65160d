"""How long a recipe takes, from `kitae train` to the end of `kitae ship`: its multiplications, at the speed of this machine.

The machine is timed at multiplying by a matrix of the model's width: with many rows at once, as where tokens are read, and with
few, as where answers are written and each weight has to be fetched for few tokens.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean

from kitae.core.hardware import computes_in_bf16, has_gpu
from kitae.models import Size
from kitae.recipe import Recipe

_WEIGHTS = 16_000_000  # of the matrix that is timed: more than caches hold
_TIMED = 0.25  # seconds
_LEARNING, _LEARNING_WHOLE = 4.0, 5.5  # times of multiplying once: forward and back, and what is not multiplying
_READING = 1.5  # the same where nothing is learned
_WRITING = 3.0  # the same where answers are written, one token of each at a time
_TOGETHER = 64  # answers
_ALL_COMPARED = 8_192  # tokens, at most
_LONG = 640  # tokens of the probe for positions
_CALIBRATION = 3_000  # tokens by which it is told what may be rounded
_SAMPLED, _FEW = 16, 8  # answers that are also drawn; those of a form that is proven equal to another
_STARTING = 10.0  # seconds of a command: libraries, the base
_FORM = 5.0  # seconds to open a form in a process of its own, and to look at its files
_MAKING = 60e-9  # seconds a weight: merging, converting, quantising, hashing
_LEAST = 1e-4  # seconds a token: a small model's time goes into other things than multiplying


@dataclass(frozen=True)
class Amount:
    """Tokens."""

    learned: float  # in all epochs
    row: float  # of one row
    answer: float  # of one answer
    longest: int  # of the longest that is held out


@dataclass(frozen=True)
class Minutes:
    asking: float  # the base, before training
    training: float
    proof: float

    @property
    def all(self) -> float:
        return self.asking + self.training + self.proof


def minutes(recipe: Recipe, size: Size, amount: Amount, validation: int) -> Minutes:
    """`validation`: how many rows."""
    train, wanted, weights = recipe.train, recipe.evaluate, size.parameters * size.passes
    bf16 = computes_in_bf16(train.precision)
    many, in_training = _timed(size.hidden, 1024, False), _timed(size.hidden, 1024, bf16)
    together = min(wanted.prompts, _TOGETHER)
    few, one = _timed(size.hidden, together, False), _timed(size.hidden, 1, False)

    def reading(tokens: float) -> float:
        return tokens * max(_LEAST / 2, _READING * many * weights)

    def writing(answers: int, tokens: float = amount.answer, steps: float = amount.longest) -> float:
        """A step fetches all weights, however few answers are left; each of these is multiplied by them."""
        fetched, multiplied = -(-answers // _TOGETHER) * steps * one, answers * tokens * max(few - one / together, 0)
        return max(_LEAST * steps, _WRITING * weights * (fetched + multiplied))

    compared = min(wanted.rows * amount.row, _ALL_COMPARED)
    exact = "exact_match" in wanted.suites
    room = wanted.room([amount.longest])
    asking = _STARTING + _FORM + reading(compared)
    asking += writing(wanted.prompts, room, room) if exact else 0  # a base goes on as long as it may
    multiplied = _LEARNING_WHOLE if train.whole else _LEARNING
    training = amount.learned * max(_LEAST, multiplied * in_training * weights)
    training += reading((train.evaluations + 1) * validation * amount.row)  # and before the first step
    quantised = [quant for quant in recipe.quants if quant != "F16"]
    alike = reading(compared + _LONG) + _FORM
    answered = alike + writing(wanted.prompts) + writing(_SAMPLED)
    proof = _STARTING + alike + answered + _MAKING * size.parameters
    if recipe.quants:
        proof += alike + 2 * writing(_FEW) + reading(_CALIBRATION)
        proof += (answered + _MAKING * size.parameters) * len(quantised)
    if not exact:
        proof += writing(wanted.prompts, room, room)  # the base is asked now
    return Minutes(asking / 60, training / 60, proof / 60)


def _timed(width: int, rows: int, bf16: bool) -> float:
    """Seconds for each weight and row."""
    multiply, weights = _torch_product(width, rows, bf16) if bf16 or has_gpu() else _product(width, rows)
    multiply()
    seconds: list[float] = []
    began = time.monotonic()
    while time.monotonic() - began < _TIMED or not seconds:
        before = time.monotonic()
        multiply()
        seconds.append(time.monotonic() - before)
    return fmean(seconds) / weights / rows


def _product(width: int, rows: int) -> tuple[Callable[[], object], int]:
    """Without torch, which takes longer to import than all of this."""
    import numpy as np

    matrix = np.full((_WEIGHTS // width, width), 0.5, np.float32)
    given, out = np.full((rows, width), 0.5, np.float32), np.empty((rows, len(matrix)), np.float32)
    return lambda: np.matmul(given, matrix.T, out=out), matrix.size


def _torch_product(width: int, rows: int, bf16: bool) -> tuple[Callable[[], object], int]:
    import torch

    kind = {"device": "cuda" if has_gpu() else "cpu", "dtype": torch.bfloat16 if bf16 else torch.float32}
    matrix, given = torch.full((_WEIGHTS // width, width), 0.5, **kind), torch.full((rows, width), 0.5, **kind)  # type: ignore[call-overload]

    def multiply() -> object:
        out = torch.nn.functional.linear(given, matrix)
        return out.flatten()[0].item()  # a GPU has to have done it

    return multiply, matrix.numel()
