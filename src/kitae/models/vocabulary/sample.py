"""A sample of a text of any length, in memory of a fixed size."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator


class Sample:
    """Texts drawn evenly from all that are added. The same texts in the same order give the same sample.

    Trainers hold every word they have seen, at up to a hundred bytes for a byte of Japanese, so what they are given has a
    limit. A text that is in the sample already counts once, or else a system message that opens every row would become
    tokens as a whole.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: dict[str, None] = {}
        self._largest: list[tuple[float, str]] = []  # every kept text by the number it drew, the largest first
        self._draw = random.Random(0)
        self._share = 1.0
        self.texts_seen = 0
        self.bytes_seen = 0
        self.bytes_kept = 0

    def add(self, text: str) -> None:
        size = len(text.encode())
        self.texts_seen += 1
        self.bytes_seen += size
        drawn = self._draw.random()
        if not text or drawn >= self._share or text in self._kept:
            return
        self._kept[text] = None
        heapq.heappush(self._largest, (-drawn, text))
        self.bytes_kept += size
        while self.bytes_kept > self._limit and len(self._kept) > 1:
            drawn, dropped = heapq.heappop(self._largest)
            self._share = -drawn
            del self._kept[dropped]
            self.bytes_kept -= len(dropped.encode())

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)
