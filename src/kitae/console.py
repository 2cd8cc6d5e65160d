"""What a person sees while Kitae works. Progress and notes go to stderr; stdout belongs to results."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass


@dataclass
class Console:
    quiet: bool = False
    debug: bool = False

    @property
    def animated(self) -> bool:
        return sys.stderr.isatty() and not self.quiet

    @property
    def coloured(self) -> bool:
        return sys.stderr.isatty() and "NO_COLOR" not in os.environ

    def say(self, text: str) -> None:
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

    def error(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


console = Console()


class Progress:
    """One line that is rewritten on a terminal, and printed now and then elsewhere."""

    def __init__(self, label: str, total: int, every: float = 15.0) -> None:
        self._label = label
        self._total = total
        self._every = every
        self._start = time.monotonic()
        self._shown = 0.0
        self._open = False

    def update(self, done: int, note: str = "") -> None:
        now = time.monotonic()
        pause = 0.2 if console.animated else self._every
        if console.quiet or (now - self._shown < pause and done < self._total):
            return
        self._shown = now
        left = (now - self._start) / max(done, 1) * (self._total - done)
        line = f"  {self._label} {done}/{self._total} {note} {_clock(left)}".rstrip()
        if console.animated:
            sys.stderr.write("\r\x1b[2K" + line)
            sys.stderr.flush()
            self._open = True
        else:
            console.say(line)

    def close(self) -> None:
        if self._open:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
