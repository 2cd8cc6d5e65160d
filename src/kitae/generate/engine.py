"""What the decode loop needs of something that runs a model. Two implementations: torch and llama.cpp."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from kitae.chat import ChatCodec
from kitae.generate.sampling import Logits

Vectors = npt.NDArray[np.float32]  # a row a text

if TYPE_CHECKING:
    from kitae.generate.constraints import Grammars


class Part(NamedTuple):
    """What a sequence reads next, behind all that it has read."""

    sequence: int
    tokens: Sequence[int]
    wanted: int = 1  # of so many of the last ones: what follows them. None is wanted before a prompt has been read to its end.


class Decoder(Protocol):
    """Sequences that are decoded together. They are named by whoever begins them, and come and go while the others go on."""

    joins: bool  # whether those that come later are decoded together with the others, and not beside them
    shares: bool  # whether what a sequence has read can be cut, and taken over by others that begin alike
    chunk: int  # tokens of prompts that are best read in one go

    def begin(self, sequence: int, prompt: Sequence[int], owner: str = "") -> int:
        """A new sequence. How many tokens of its prompt are known from another sequence of the same owner, that is there or
        was, and need not be read; never all of them. Tokens are compared, so nothing is taken for what it is not."""
        ...

    def read(self, parts: Sequence[Part]) -> Logits:
        """What follows the tokens that were wanted, in their order. The rows may be overwritten by the next call. Every
        sequence whose prompt has been read is part of every call."""
        ...

    def cut(self, sequence: int, length: int) -> None:
        """Forgets all but the first tokens; only where `shares`."""
        ...

    def fork(self, sequence: int, to: int) -> None:
        """A new sequence that has read what another has."""
        ...

    def drop(self, sequences: Collection[int]) -> None: ...

    def close(self) -> None: ...


class Engine(Protocol):
    name: str
    codec: ChatCodec
    stop_tokens: set[int]
    context: int
    width: int  # how many sequences should be decoded together at most
    cell_bytes: int  # what one token of one sequence takes of memory while it is decoded; 0: nothing grows

    @property
    def embed(self) -> Callable[[Sequence[Sequence[int]]], Vectors] | None:
        """Of a model that was made for it."""
        ...

    @property
    def grammars(self) -> Grammars:
        """What answers may be held to, in this vocabulary."""
        ...

    def open(self, sequences: int, length: int) -> Decoder:
        """For at most so many sequences at a time, of at most so many tokens each, with their prompts."""
        ...

    def logits(self, ids: Sequence[int], start: int) -> Logits:
        """The logits at positions `start` to the last but one: those that predict ids[start + 1:]."""
        ...

    def close(self) -> None: ...
