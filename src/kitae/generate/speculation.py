"""Guesses of what comes next. Several are checked in the time of one token, and only those that the model would have chosen
itself are kept: the answer is the same, whoever guesses. Where guessing costs more than it saves, it stops by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from kitae.core.errors import InputError
from kitae.generate.engine import Engine, Part
from kitae.generate.prefix import same_beginning

MOST = 8  # tokens that are guessed at a time
_LONGEST, _SHORTEST = 4, 2  # tokens at the end that are looked for in what was said before
_LOOKED_AT = 4096  # of the latest tokens
_TRIAL = 24  # steps with guesses, after which it is seen whether they pay
_PAUSE = 400  # steps without any, after they did not
_PLAIN = 8  # every so many steps nothing is guessed, to know what that costs


class Asked(NamedTuple):
    """A sequence that is to be guessed for, and how many tokens at most."""

    history: Sequence[int]
    room: int
    owner: str = ""


class Guesser(Protocol):
    def guess(self, asked: Mapping[int, Asked]) -> dict[int, list[int]]:
        """For all sequences that answer now."""
        ...

    def drop(self, sequence: int) -> None: ...

    def close(self) -> None: ...


class PromptLookup:
    """What followed the last time that the same tokens were said: answers often repeat what was asked."""

    def guess(self, asked: Mapping[int, Asked]) -> dict[int, list[int]]:
        return {sequence: self._one(list(one.history[-_LOOKED_AT:]), one.room) for sequence, one in asked.items()}

    def _one(self, recent: list[int], count: int) -> list[int]:
        for length in range(_LONGEST, _SHORTEST - 1, -1):
            end = recent[-length:]
            for at in range(len(recent) - length - 1, -1, -1):
                if recent[at] == end[0] and recent[at : at + length] == end:
                    return recent[at + length : at + length + count]
        return []

    def drop(self, sequence: int) -> None:
        """It keeps nothing of a sequence."""

    def close(self) -> None:
        """Nor anything else."""


class DraftModel:
    """A smaller model with the same vocabulary."""

    def __init__(self, engine: Engine, sequences: int, length: int) -> None:
        self._engine = engine
        self._length = min(length, engine.context)
        self._decoder = engine.open(sequences, self._length)
        self._read: dict[int, list[int]] = {}
        if not self._decoder.shares:
            self._decoder.close()
            raise InputError("guesses-state", where=engine.name)

    def guess(self, asked: Mapping[int, Asked]) -> dict[int, list[int]]:
        asked = {number: one for number, one in asked.items() if one.room > 0 and len(one.history) < self._length}
        for number in [number for number in self._read if number not in asked]:
            self.drop(number)
        rounds = min((min(one.room, self._length - len(one.history)) for one in asked.values()), default=0)
        if not rounds:
            return {}
        unread = {number: self._unread(number, one) for number, one in asked.items()}
        guessed: dict[int, list[int]] = {number: [] for number in asked}
        for _ in range(rounds):
            rows = self._decoder.read([Part(number, tokens) for number, tokens in unread.items()])
            for (number, tokens), row in zip(list(unread.items()), rows, strict=True):
                self._read[number] += tokens
                unread[number] = [int(row.argmax())]
                guessed[number] += unread[number]
        return guessed

    def _unread(self, number: int, one: Asked) -> list[int]:
        history = list(one.history)
        if number not in self._read:
            self._read[number] = history[: self._decoder.begin(number, history, one.owner)]
        read = self._read[number]
        same = min(same_beginning(read, history), len(history) - 1)
        if same < len(read):
            self._decoder.cut(number, same)
            del read[same:]
        return history[same:]

    def drop(self, sequence: int) -> None:
        if self._read.pop(sequence, None) is not None:
            self._decoder.drop([sequence])

    def close(self) -> None:
        self._decoder.close()
        self._engine.close()


class Speculation:
    def __init__(self, guesser: Guesser, count: int = MOST) -> None:
        self._guesser, self._count = guesser, count
        self._step = self._pause = 0
        self._plain, self._plain_tokens = 0.0, 0.0
        self._spent, self._said, self._steps = 0.0, 0, 0
        self.guessed = self.right = 0

    @property
    def pays(self) -> bool:
        return self._pause == 0 and self._step % _PLAIN != 0

    def guess(self, asked: Mapping[int, Asked]) -> dict[int, list[int]]:
        bounded = {number: one._replace(room=min(self._count, one.room)) for number, one in asked.items() if one.room > 0}
        return self._guesser.guess(bounded)

    def heard(self, seconds: float, sequences: int, guessed: int, right: int) -> None:
        """What a step took, and what came of the guesses in it."""
        self._step += 1
        self._pause = max(0, self._pause - 1)
        self.guessed, self.right = self.guessed + guessed, self.right + right
        if not guessed:
            self._plain, self._plain_tokens = 0.9 * self._plain + seconds, 0.9 * self._plain_tokens + sequences
            return
        self._spent, self._said, self._steps = self._spent + seconds, self._said + sequences + right, self._steps + 1
        if self._steps >= _TRIAL and self._plain_tokens:
            if self._spent / self._said > self._plain / self._plain_tokens:
                self._pause = _PAUSE
            self._spent, self._said, self._steps = 0.0, 0, 0

    def drop(self, sequence: int) -> None:
        self._guesser.drop(sequence)

    def close(self) -> None:
        self._guesser.close()
