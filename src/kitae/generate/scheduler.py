"""Sequences that come and go, each with its own settings and none changed by the others. Only here are tokens chosen."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from kitae.core.errors import ContextFull, InputError, KitaeError
from kitae.generate.engine import Engine, Part
from kitae.generate.pieces import token_bytes
from kitae.generate.prefix import same_beginning
from kitae.generate.queue import Queue
from kitae.generate.running import Running
from kitae.generate.sampling import Logits, choose_all
from kitae.generate.settings import Chunk, Settings
from kitae.generate.speculation import MOST as MOST_GUESSED, Asked, Speculation

_WORTH_WAITING = 16  # tokens that another sequence is about to read, too
_USUAL_SPEED = 500.0  # tokens of prompts a second, before it is known
_LEAST = 8  # tokens of prompts in a step
_STALL = 1.5  # seconds of a step in which prompts are read to their end, if nearly all sequences have one that is to be read
_LEAST_STALL = 0.1  # and in which a piece of a long one is read


class Scheduler:
    def __init__(
        self, engine: Engine, length: int | None = None, sequences: int | None = None, speculation: Speculation | None = None
    ) -> None:
        """`length`: tokens that a sequence may have, with its prompt. `sequences`: how many are decoded at a time; others
        wait for their turn."""
        self._engine = engine
        self.length = min(length or engine.context, engine.context)
        self.places = min(sequences or engine.width, engine.width)
        self._decoder = engine.open(self.places, self.length)
        self._speculation = speculation
        if speculation is not None and not self._decoder.shares:  # what was guessed wrongly has to be cut out
            speculation.close()
            self._decoder.close()
            raise InputError("guesses-state", where=engine.name)
        self._piece: Callable[[int], bytes] = token_bytes(engine.codec.vocabulary)
        self._queue = Queue()
        self._running: dict[int, Running] = {}
        self._next = 0
        self._speed = _USUAL_SPEED

    def add(self, prompt: Sequence[int], settings: Settings, random: np.random.Generator | None = None, owner: str = "") -> int:
        """A new sequence's number. It begins with the next step, or when there is a place for it. What one owner's sequences
        have read is never taken over by another's, and owners take turns."""
        if not prompt:
            raise InputError("prompt-empty")
        left = min(settings.max_tokens, self.length - len(prompt))
        if left <= 0:
            raise ContextFull("context-full", tokens=len(prompt), limit=self.length)
        size = self._engine.codec.vocabulary.size
        named = (*settings.bans, *settings.stop_tokens, *(token for token, _ in settings.logit_bias))
        unknown = next((token for token in named if not 0 <= token < size), None)
        if unknown is not None:
            raise InputError("token-id", where=str(unknown), last=size - 1)
        if len(set(settings.bans)) == size:
            raise InputError("all-banned")
        if settings.ignore_stops:
            settings = replace(settings, bans=(*settings.bans, *self._engine.stop_tokens))
        matcher = None if settings.constraint is None else self._engine.grammars.begin(settings.constraint)
        if matcher is not None and (settings.stop or settings.stop_tokens):
            raise InputError("constraint-stops")
        number, self._next = self._next, self._next + 1
        random = random or np.random.default_rng(settings.seed)
        self._queue.add(Running(number, list(prompt), settings, random, left, len(prompt), owner, matcher))
        return number

    @property
    def busy(self) -> bool:
        return bool(self._queue or self._running)

    @property
    def waiting(self) -> int:
        return len(self._queue)

    @property
    def running(self) -> int:
        return len(self._running)

    def step(self) -> list[Chunk]:
        """One more token of each sequence that has a place; more, where some were guessed."""
        chunks = self._late()
        self._admit()
        began = time.monotonic()
        guesses = self._guesses()
        parts = [*self._next_tokens(guesses), *self._next_prompts()]
        if not parts:
            return chunks
        rows = self._decoder.read(parts)
        for part in parts:
            self._running[part.sequence].read += len(part.tokens)
        places = iter(np.cumsum([0, *(part.wanted for part in parts)]).tolist())
        live = [(self._running[part.sequence], place) for part, place in zip(parts, places, strict=False) if part.wanted]
        right = 0
        while live:
            grown = self._chosen(live, rows)
            chunks += [chunk for _, _, chunk in grown]
            live = [
                (sequence, place + 1)
                for sequence, place, chunk in grown
                if chunk.finish is None and self._guessed(sequence, guesses, chunk.tokens[0])
            ]
            right += len(live)
        self._cut(guesses)
        self._measure(parts, time.monotonic() - began)
        if self._speculation is not None:
            self._speculation.heard(time.monotonic() - began, len(parts), sum(map(len, guesses.values())), right)
        self._leave([chunk.row for chunk in chunks if chunk.finish is not None])
        return chunks

    def drop(self, number: int) -> None:
        """Whoever asked is no longer there."""
        if number in self._running:
            self._leave([number])
        else:
            self._queue.drop(number)

    def close(self) -> None:
        self._decoder.close()
        if self._speculation is not None:
            self._speculation.close()

    def _late(self) -> list[Chunk]:
        """Those whose time was up before they had a turn, or while their prompts were read."""
        now = time.monotonic()
        late = [sequence for sequence in [*self._queue, *self._running.values()] if sequence.until <= now]
        late = [sequence for sequence in late if not sequence.answering]
        for sequence in late:
            self.drop(sequence.number)
        return [Chunk(sequence.number, "", (), "time") for sequence in late]

    def _admit(self) -> None:
        free = self.places - len(self._running) if self._decoder.joins or not self._running else 0
        passed: list[Running] = []
        while free and (sequence := self._queue.next()) is not None:
            if self._is_being_read(sequence):
                passed.append(sequence)  # of what it begins with, the next step knows more
                continue
            sequence.read = sequence.known = self._decoder.begin(sequence.number, sequence.history, sequence.owner)
            self._running[sequence.number] = sequence
            self._queue.charge(sequence.owner, sequence.asked - sequence.read)
            free -= 1
        for sequence in passed:
            self._queue.put_back(sequence)

    def _is_being_read(self, newcomer: Running) -> bool:
        if not self._decoder.shares:
            return False
        beginning = newcomer.history[:-1]
        return any(
            same_beginning(other.history, beginning) - other.read >= _WORTH_WAITING
            for other in self._running.values()
            if not other.answering and other.owner == newcomer.owner
        )

    def _measure(self, parts: Sequence[Part], seconds: float) -> None:
        """How fast prompts are read, a little less than that where others answered in the same step."""
        read = sum(len(part.tokens) for part in parts if not part.wanted or len(part.tokens) > MOST_GUESSED)
        if read > _WORTH_WAITING:
            self._speed += 0.3 * (read / seconds - self._speed)

    def _guesses(self) -> dict[int, list[int]]:
        if self._speculation is None or not self._speculation.pays:
            return {}
        asked = {
            sequence.number: Asked(sequence.history, sequence.left - 1, sequence.owner)
            for sequence in self._running.values()
            if sequence.answering and sequence.settings.speculate
        }
        found = {}
        for number, guessed in self._speculation.guess(asked).items():
            matcher = self._running[number].matcher
            if matcher is not None and guessed:
                guessed = guessed[: matcher.accepts(guessed)]
            if guessed:
                found[number] = guessed
        return found

    def _next_tokens(self, guesses: dict[int, list[int]]) -> list[Part]:
        answering = [sequence for sequence in self._running.values() if sequence.answering]
        guessed = [guesses.get(sequence.number, []) for sequence in answering]
        return [
            Part(sequence.number, [sequence.history[-1], *more], 1 + len(more))
            for sequence, more in zip(answering, guessed, strict=True)
        ]

    def _next_prompts(self) -> list[Part]:
        """Whole ones, the shortest first, as long as those who answer can wait for it: the more are to be read, the longer. The
        one that came first always goes on, if only by a piece."""
        reading = [sequence for sequence in self._running.values() if not sequence.answering]
        if not reading:
            return []
        if not self._decoder.joins:  # they begin together, and nobody answers beside them
            return [Part(sequence.number, sequence.history[sequence.read :]) for sequence in reading]
        room = max(_LEAST, min(self._decoder.chunk, int(self._speed * _STALL)))
        piece = room
        if len(reading) < len(self._running):
            piece = max(_LEAST, min(room, int(self._speed * _LEAST_STALL)))
            room = max(piece, int(room * len(reading) / len(self._running)))
        counts: dict[int, int] = {}
        for sequence in sorted(reading, key=lambda sequence: sequence.unread):
            if sequence.unread > room:
                break
            counts[sequence.number] = sequence.unread
            room -= sequence.unread
        first = reading[0]
        if first.number not in counts:
            counts[first.number] = min(piece, first.unread)
        return [
            Part(
                number,
                self._running[number].history[self._running[number].read :][:count],
                1 if count == self._running[number].unread else 0,
            )
            for number, count in counts.items()
        ]

    def _chosen(self, live: Sequence[tuple[Running, int]], rows: Logits) -> list[tuple[Running, int, Chunk]]:
        """Each sequence with its row, and what became of it. One whose constraint fails takes no other with it."""
        failed: list[tuple[Running, int, Chunk]] = []
        able: list[tuple[Running, int, Logits]] = []
        for sequence, place in live:
            try:
                able.append((sequence, place, sequence.allowed(rows[place])))
            except KitaeError as error:
                failed.append((sequence, place, sequence.failed(error)))
        tokens = choose_all([row for _, _, row in able], [sequence.wish for sequence, _, _ in able])
        return failed + [
            (sequence, place, self._grown(sequence, token, rows[place]))
            for (sequence, place, _), token in zip(able, tokens, strict=True)
        ]

    def _grown(self, sequence: Running, token: int, logits: Logits) -> Chunk:
        self._queue.charge(sequence.owner, 1)
        stops = token in self._engine.stop_tokens or token in sequence.settings.stop_tokens
        try:
            return sequence.grown(token, b"" if stops else self._piece(token), stops, logits)
        except KitaeError as error:
            return sequence.failed(error)

    @staticmethod
    def _guessed(sequence: Running, guesses: dict[int, list[int]], token: int) -> bool:
        """Whether the token that was chosen is the one that was guessed, so that what follows it is known already."""
        guessed = guesses.get(sequence.number, [])
        at = len(sequence.history) - 1 - (sequence.read - len(guessed))
        return at < len(guessed) and guessed[at] == token

    def _cut(self, guesses: dict[int, list[int]]) -> None:
        """What was guessed and not said."""
        for number in guesses:
            sequence = self._running[number]
            known = len(sequence.history) - 1  # the last one has not been read
            if sequence.read > known:
                self._decoder.cut(number, known)
                sequence.read = known

    def _leave(self, numbers: Sequence[int]) -> None:
        numbers = [number for number in numbers if number in self._running]
        if numbers:
            self._decoder.drop(numbers)
        for number in numbers:
            self._queue.leave(self._running.pop(number).owner)
            if self._speculation is not None:
                self._speculation.drop(number)
