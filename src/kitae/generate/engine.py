"""What the decode loop needs of something that runs a model. Two implementations: torch and llama.cpp."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from kitae.chat import ChatCodec
from kitae.generate.sampling import Logits


class Decoder(Protocol):
    """Sequences that are decoded together. They are named by whoever adds them, and come and go while the others go on."""

    joins: bool  # whether those that come later are decoded together with the others, and not beside them

    def add(self, prompts: Mapping[int, Sequence[int]]) -> Logits:
        """Reads the prompts of new sequences. What follows each is in one row of the result, in their order."""
        ...

    def feed(self, tokens: Mapping[int, int]) -> Logits:
        """The token chosen for each sequence; what follows it, in their order."""
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

    def open(self, sequences: int, length: int) -> Decoder:
        """For at most so many sequences at a time, of at most so many tokens each, with their prompts."""
        ...

    def logits(self, ids: Sequence[int], start: int) -> Logits:
        """The logits at positions `start` to the last but one: those that predict ids[start + 1:]."""
        ...

    def close(self) -> None: ...
