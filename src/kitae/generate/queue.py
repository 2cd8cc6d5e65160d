"""Who is next: higher priorities first, then the owner who has had least, then who came first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from kitae.generate.running import Running


class Queue:
    def __init__(self) -> None:
        self._waiting: dict[int, Running] = {}
        self._had: dict[str, float] = {}  # by owner: tokens that were read and written for it
        self._here: Counter[str] = Counter()  # its sequences that wait or run

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Running]:
        return iter(self._waiting.values())

    def add(self, sequence: Running) -> None:
        owner = sequence.owner
        if not self._here[owner]:  # who was away has no claim to what others had in the meantime
            self._had[owner] = min((self._had[other] for other, count in self._here.items() if count), default=0.0)
        self._here[owner] += 1
        self._waiting[sequence.number] = sequence

    def next(self) -> Running | None:
        """Taken out. It counts as here until it is said to `leave`."""
        number = min(self._waiting, key=lambda n: self._rank(self._waiting[n]), default=None)
        return None if number is None else self._waiting.pop(number)

    def put_back(self, sequence: Running) -> None:
        self._waiting[sequence.number] = sequence

    def drop(self, number: int) -> None:
        sequence = self._waiting.pop(number, None)
        if sequence is not None:
            self.leave(sequence.owner)

    def charge(self, owner: str, tokens: int) -> None:
        self._had[owner] += tokens

    def leave(self, owner: str) -> None:
        self._here[owner] -= 1
        if not self._here[owner]:
            del self._here[owner], self._had[owner]

    def _rank(self, sequence: Running) -> tuple[int, float, int]:
        return -sequence.settings.priority, self._had[sequence.owner], sequence.number
