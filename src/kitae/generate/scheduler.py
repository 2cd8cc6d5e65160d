"""Sequences that come and go, each with its own settings and none changed by the others. Only here are tokens chosen."""

from __future__ import annotations

import copy
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from kitae.core.errors import ContextFull
from kitae.generate.engine import Engine
from kitae.generate.pieces import token_bytes
from kitae.generate.repetition import Circles
from kitae.generate.sampling import Wish, choose_all
from kitae.generate.settings import Chunk, Finish, Settings
from kitae.generate.stops import TextStream


@dataclass
class Running:
    """A sequence: what was asked, what came of it so far."""

    number: int
    history: list[int]
    settings: Settings
    random: np.random.Generator
    left: int  # tokens that it may still get
    asked: int  # tokens of the prompt
    text: TextStream = field(init=False)
    said: str = ""  # the text so far, if somebody wants to see it
    circles: Circles | None = None
    until: float = math.inf  # by the clock

    def __post_init__(self) -> None:
        self.text = TextStream(self.settings.stop)
        self.circles = Circles() if self.settings.stop_repeating else None
        if self.settings.max_seconds is not None:
            self.until = time.monotonic() + self.settings.max_seconds

    def why_end(self, token: int, text: str) -> Finish | None:
        """After a token that is no stop, and the text that it made certain."""
        if self.text.stopped:
            return "stop"
        if self.circles is not None and self.circles.goes_on(token):
            return "repetition"
        if self.settings.stop_when is not None:
            self.said += text
            if self.settings.stop_when(self.said):
                return "callable"
        if not self.left:
            return "length"
        return "time" if time.monotonic() >= self.until else None


class Scheduler:
    def __init__(self, engine: Engine, length: int | None = None, sequences: int | None = None) -> None:
        """`length`: tokens that a sequence may have, with its prompt. `sequences`: how many are decoded at a time; others
        wait for their turn."""
        self._engine = engine
        self._length = min(length or engine.context, engine.context)
        self._places = min(sequences or engine.width, engine.width)
        self._decoder = engine.open(self._places, self._length)
        self._piece: Callable[[int], bytes] = token_bytes(engine.codec.vocabulary)
        self._queue: deque[Running] = deque()
        self._running: dict[int, Running] = {}
        self._fed: dict[int, int] = {}  # what was chosen last, and has to be read before more can be
        self._next = 0

    def add(self, prompt: Sequence[int], settings: Settings, random: np.random.Generator | None = None) -> int:
        """A new sequence's number. It begins with the next step, or when there is a place for it."""
        left = min(settings.max_tokens, self._length - len(prompt))
        if left <= 0:
            raise ContextFull("context-full", tokens=len(prompt), limit=self._length)
        number, self._next = self._next, self._next + 1
        self._queue.append(
            Running(number, list(prompt), settings, random or np.random.default_rng(settings.seed), left, len(prompt))
        )
        return number

    @property
    def busy(self) -> bool:
        return bool(self._queue or self._running)

    def step(self) -> list[Chunk]:
        """One more token of each sequence that has a place."""
        rows: list[tuple[Running, np.ndarray[tuple[int], np.dtype[np.float32]]]] = []
        if self._fed:
            rows += zip((self._running[number] for number in self._fed), self._decoder.feed(self._fed), strict=True)
        new = self._admitted()
        if new:
            rows = [(sequence, row.copy()) for sequence, row in rows]  # where these lie, others are written now
            rows += zip(new, self._decoder.add({sequence.number: sequence.history for sequence in new}), strict=True)
        tokens = choose_all([row for _, row in rows], [Wish(s.settings, s.history, s.random, s.asked) for s, _ in rows])
        chunks = [self._grown(sequence, token) for (sequence, _), token in zip(rows, tokens, strict=True)]
        ended = [chunk.row for chunk in chunks if chunk.finish is not None]
        self._fed = {chunk.row: chunk.tokens[-1] for chunk in chunks if chunk.finish is None}
        self._leave(ended)
        return chunks

    def drop(self, number: int) -> None:
        """Whoever asked is no longer there."""
        if number in self._running:
            self._fed.pop(number, None)
            self._leave([number])
        else:
            self._queue = deque(waiting for waiting in self._queue if waiting.number != number)

    def fork(self, number: int) -> int:
        """A new sequence that has read and said what a running one has, and goes on by itself."""
        if len(self._running) == self._places:
            raise RuntimeError("all places are taken")
        first = self._running[number]
        to, self._next = self._next, self._next + 1
        self._decoder.fork(number, to)
        again = Running(to, list(first.history), first.settings, first.random.spawn(1)[0], first.left, first.asked)
        again.text, again.said, again.until = first.text.fork(), first.said, first.until
        again.circles = copy.deepcopy(first.circles)
        self._running[to] = again
        self._fed[to] = self._fed[number]
        return to

    def close(self) -> None:
        self._decoder.close()

    def _admitted(self) -> list[Running]:
        free = self._places - len(self._running) if self._decoder.joins or not self._running else 0
        new = [self._queue.popleft() for _ in range(min(free, len(self._queue)))]
        self._running |= {sequence.number: sequence for sequence in new}
        return new

    def _leave(self, numbers: Sequence[int]) -> None:
        if numbers:
            self._decoder.drop(numbers)
        for number in numbers:
            del self._running[number]

    def _grown(self, sequence: Running, token: int) -> Chunk:
        if token in self._engine.stop_tokens or token in sequence.settings.stop_tokens:
            return Chunk(sequence.number, sequence.text.flush(), (token,), "stop")
        sequence.history.append(token)
        sequence.left -= 1
        text = sequence.text.feed(self._piece(token))
        why = sequence.why_end(token, text)
        if why is not None and why != "stop":
            text += sequence.text.flush()  # in which a stop string may turn up
            why = "stop" if sequence.text.stopped else why
        return Chunk(sequence.number, text, (token,), why)
