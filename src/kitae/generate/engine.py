"""What the decode loop needs of something that runs a model. Two implementations: torch and llama.cpp."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from kitae.chat import ChatCodec
from kitae.generate.sampling import Logits


class Session(Protocol):
    """Several sequences that are decoded together."""

    def next_logits(self) -> Logits:
        """One row of logits for each sequence that is still kept."""
        ...

    def feed(self, tokens: Sequence[int]) -> None:
        """The token chosen for each kept sequence."""
        ...

    def keep(self, rows: Sequence[int]) -> None:
        """Drops all sequences but these, named by their present position."""
        ...

    def close(self) -> None: ...


class Engine(Protocol):
    name: str
    codec: ChatCodec
    stop_tokens: set[int]
    context: int
    width: int  # how many sequences a session should hold at most

    def begin(self, prompts: Sequence[Sequence[int]], room: int) -> Session:
        """Starts sequences with their prompts; `room` is how many tokens each may still get."""
        ...

    def logits(self, ids: Sequence[int], start: int) -> Logits:
        """The logits at positions `start` to the last but one: those that predict ids[start + 1:]."""
        ...

    def close(self) -> None: ...
