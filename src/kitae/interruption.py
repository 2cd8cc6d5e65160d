"""Ctrl-C and SIGTERM while a long command begins, when libraries are imported that may swallow what is raised in them."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from kitae.errors import EXIT_INTERRUPTED

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_asked = False


@contextlib.contextmanager
def heard() -> Iterator[None]:
    """Both signals raise KeyboardInterrupt, and are remembered."""
    global _asked
    if threading.current_thread() is not threading.main_thread():  # others are told nothing
        yield
        return
    _asked = False
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    for number in _SIGNALS:
        signal.signal(number, _ask)
    try:
        with not_an_error():
            yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        _asked = False


@contextlib.contextmanager
def not_an_error() -> Iterator[None]:
    """What fails after it was asked to stop, and because of that, is an interruption."""
    try:
        yield
    except Exception as error:
        if _asked and getattr(error, "exit_code", None) != EXIT_INTERRUPTED:  # which says so itself
            raise KeyboardInterrupt from error
        raise


def check() -> None:
    """Where it was swallowed, it is raised again."""
    if _asked:
        raise KeyboardInterrupt


def _ask(number: int, frame: FrameType | None) -> None:
    global _asked
    _asked = True
    raise KeyboardInterrupt
