"""Turns tokens into text that is certain: whole characters, and nothing that might still become a stop string."""

from __future__ import annotations

import codecs
from collections.abc import Sequence


class TextStream:
    """Feeds on bytes of one answer; gives text only when neither UTF-8 nor a stop string can take it back."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self.stopped = False

    def feed(self, data: bytes) -> str:
        if self.stopped:
            return ""
        self._held += self._decoder.decode(data)
        safe = len(self._held) - self._undecided()
        if self._ends_within(safe):
            return self._until_stop()
        text, self._held = self._held[:safe], self._held[safe:]
        return text

    def flush(self) -> str:
        """What is left when the answer has ended by itself."""
        if self.stopped:
            return ""
        self._held += self._decoder.decode(b"", final=True)
        if self._ends_within(len(self._held)):
            return self._until_stop()
        text, self._held = self._held, ""
        return text

    def _first(self) -> int:
        return min((i for i in (self._held.find(stop) for stop in self._stops) if i >= 0), default=-1)

    def _ends_within(self, safe: int) -> bool:
        """Whether a stop string is there, and none that may still be completed begins before it."""
        return 0 <= self._first() <= safe

    def _until_stop(self) -> str:
        self.stopped = True
        text, self._held = self._held[: self._first()], ""
        return text

    def _undecided(self) -> int:
        """How many characters at the end could be the beginning of a stop string."""
        longest = max((len(stop) for stop in self._stops), default=1) - 1
        for length in range(min(longest, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-length:]) for stop in self._stops):
                return length
        return 0
