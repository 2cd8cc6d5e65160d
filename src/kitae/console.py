"""What a person sees while Kitae works. Progress and notes go to stderr; stdout belongs to results."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


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

    def __init__(self, label: str, total: int | None, every: float = 15.0) -> None:
        """Without a total it says how long it has taken, instead of how long it will take."""
        self._label = label
        self._total = total
        self._every = every
        self._start = time.monotonic()
        self._first: tuple[float, int] | None = None  # what was done before, and what begins slowly, tells nothing of the rest
        self._shown = self._start if total is None else 0.0  # what is over soon needs no clock
        self._open = False

    def update(self, done: int, note: str = "") -> None:
        now = time.monotonic()
        began, before = self._first = self._first or (now, done)
        pause = 0.2 if console.animated else self._every
        if console.quiet or (now - self._shown < pause and (self._total is None or done < self._total)):
            return
        self._shown = now
        elapsed = now - self._start
        if self._total is None:
            parts = [self._label, note, _clock(elapsed)]
        else:
            left = _clock((now - began) / (done - before) * (self._total - done)) if done > before else ""
            parts = [self._label, f"{done}/{self._total}", note, left]
        line = "  " + " ".join(part for part in parts if part)
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


def watched(label: str, work: Callable[[], T]) -> T:
    """Does work that can't say how far it is, while the clock is shown and Ctrl-C is heard."""
    done: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    progress = Progress(label, None)
    thread.start()
    try:
        while thread.is_alive():
            progress.update(0)
            thread.join(0.2)
    finally:
        progress.close()
    if failed:
        raise failed[0]
    return done[0]


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
