"""How to choose tokens, and when to stop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from kitae.core.errors import KitaeError
    from kitae.generate.constraints import Constraint

# stop: a stop token or string, or the end of what a constraint allows · length: max_tokens or the context ran out
# repetition, time, callable: see Settings · failed: its constraint can't be kept to any more; others go on
Finish = Literal["stop", "length", "repetition", "time", "callable", "failed"]


@dataclass(frozen=True)
class Settings:
    max_tokens: int = 256
    temperature: float = 0.0  # 0: always the likeliest token
    top_k: int = 0  # 0: off
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    typical_p: float = 1.0
    presence_penalty: float = 0.0  # taken from the logits of what the answer has said already
    frequency_penalty: float = 0.0  # the same, as often as it was said
    dry_multiplier: float = 0.0  # 0: off; else what goes on with something said before is penalised, the longer it is the more
    dry_base: float = 1.75
    dry_allowed: int = 2  # tokens in a row that may be said again
    logit_bias: tuple[tuple[int, float], ...] = ()
    bans: tuple[int, ...] = ()  # tokens that are never chosen
    stop_tokens: tuple[int, ...] = ()  # beside those of the model
    stop_repeating: bool = False  # end an answer that goes round in circles
    max_seconds: float | None = None  # from when it is asked, waiting included
    stop_when: Callable[[str], bool] | None = None  # asked with the text so far, after each token
    ignore_stops: bool = False  # the model's own stop tokens are never chosen, so an answer has all of max_tokens
    constraint: Constraint | None = None  # what the answer has to be
    logprobs: int | None = None  # how many of the likeliest tokens are told of each, as the model itself sees them
    n: int = 1  # answers to one prompt
    best_of: int | None = None  # so many are written, of which the n likeliest count
    beams: int = 1  # more: the likeliest answers are searched for, instead of chosen token by token
    length_penalty: float = 1.0  # of a beam: its logprob is divided by its length to this power
    priority: int = 0  # higher: its turn comes sooner
    speculate: bool = True  # guesses of what comes next may be checked several at a time, where the engine is given a guesser

    @property
    def filters(self) -> bool:
        """Whether any token is left out."""
        return self.top_k > 0 or self.typical_p < 1.0 or self.top_p < 1.0 or self.min_p > 0.0


class TokenLogprob(NamedTuple):
    """As the model itself sees it, before settings change anything."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Chunk:
    """A piece of one answer as it becomes certain. The last chunk of an answer carries why it ended."""

    row: int
    text: str
    tokens: tuple[int, ...] = ()
    finish: Finish | None = None
    logprobs: tuple[TokenLogprob, ...] = ()  # of its tokens, where they were asked for
    known: int = 0  # tokens of the prompt that needn't be read, because another sequence had read them
    error: KitaeError | None = None  # why it failed


@dataclass(frozen=True)
class Completion:
    text: str
    tokens: tuple[int, ...]
    finish: Finish
    logprobs: tuple[TokenLogprob, ...] = ()

    @property
    def mean_logprob(self) -> float:
        """How likely the model finds it, a token; where logprobs were asked for."""
        return mean_logprob(self.logprobs)


def mean_logprob(logprobs: Sequence[TokenLogprob]) -> float:
    return sum(found.logprob for found in logprobs) / max(1, len(logprobs))
