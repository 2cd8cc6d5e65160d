"""What a person sees while Kitae works. Progress and notes go to stderr; stdout belongs to results."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
_BLINK = 0.2  # seconds between two looks of a moving line


@dataclass
class Console:
    quiet: bool = False
    debug: bool = False
    command: str = ""  # the one that is running, as it was typed; "" for a program that calls functions
    relay: Path | None = None  # in a process that works for another: the file in which that one looks how far it is

    @property
    def animated(self) -> bool:
        return sys.stderr.isatty() and not self.quiet

    @property
    def coloured(self) -> bool:
        return sys.stderr.isatty() and "NO_COLOR" not in os.environ

    def again(self, function: str) -> str:
        """What to do to repeat what is being done."""
        return self.command or f"kitae.{function}(…)"

    def say(self, text: str) -> None:
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

    def error(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


console = Console()


class Progress:
    """One line that is rewritten on a terminal, and printed now and then elsewhere."""

    def __init__(self, label: str, total: int | None, every: float = 8.0, patient: bool = False) -> None:
        """Without a total it says how long it has taken, instead of how long it will take. `patient`: what is over soon is not
        shown; so it is without a total."""
        self._label = label
        self._total = total
        self._every = every
        self._start = time.monotonic()
        # What was done before, and what begins slowly, tells nothing of the rest.
        self._first: tuple[float, float] | None = None
        self._patient = patient or total is None
        self._shown = self._start if self._patient else 0.0
        self._open = False

    def update(self, done: int, note: str = "", share: float | None = None) -> None:
        """`share`: of the work, by which the time that is left is told, where what is done at once ends at once."""
        now = time.monotonic()
        if console.relay is not None:
            if self._total is not None and now - self._shown > _BLINK:
                self._shown = now
                _tell(console.relay, self._label, self._total, done, note, share)
            return
        behind = share if share is not None else done / self._total if self._total else 0.0
        began, before = self._first = self._first or (now, behind)
        pause = _BLINK if console.animated else self._every
        if console.quiet or (now - self._shown < pause and (self._patient or done != self._total)):
            return
        self._shown = now
        elapsed = now - self._start
        if self._total is None:
            parts = [self._label, note, _clock(elapsed)]
        else:
            left = _clock((now - began) / (behind - before) * max(0.0, 1 - behind)) if behind > before else ""
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


def with_progress(label: str, items: Sequence[T]) -> Iterator[T]:
    """The items one by one, while it is shown how many are done."""
    progress = Progress(label, len(items), patient=True)
    try:
        for number, item in enumerate(items):
            yield item
            progress.update(number + 1)
    finally:
        progress.close()


class Followed:
    """How far another process is, by what it says in its relay file; the clock, as long as it says nothing."""

    def __init__(self, label: str, relay: Path) -> None:
        self._label, self._relay = label, relay
        self._phase: tuple[str, int | None] = (label, None)
        self._progress = Progress(label, None)

    def look(self) -> None:
        label, total, done, note, share = self._label, None, 0, "", None
        if self._relay.exists():
            label, total, done, note, share = json.loads(self._relay.read_text(encoding="utf-8"))
        if (label, total) != self._phase:
            self.close()
            shown = self._progress._shown
            self._phase, self._progress = (label, total), Progress(label, total, patient=True)
            self._progress._shown = shown  # however many phases are over soon, something is shown now and then
        self._progress.update(done, note, share)

    def close(self) -> None:
        self._progress.close()


def _tell(relay: Path, *said: object) -> None:
    beside = relay.with_suffix(".new")  # whoever looks sees all of it, or what was there before
    beside.write_text(json.dumps(said), encoding="utf-8")
    beside.replace(relay)


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
