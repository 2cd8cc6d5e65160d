"""Ctrl-C and SIGTERM beside long work, also while libraries are imported that may swallow what is raised in them."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from kitae.core.errors import InputError, Interrupted, Refused

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_asked = False
_held = False


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
    """What fails after it was asked to stop is an interruption, unless it was decided: by a gate, or by wrong input."""
    try:
        yield
    except (Interrupted, Refused, InputError):
        raise
    except Exception as error:
        if _asked:
            raise KeyboardInterrupt from error
        raise


def check() -> None:
    """Where it was swallowed, it is raised again."""
    if _asked:
        raise KeyboardInterrupt


@contextlib.contextmanager
def held() -> Iterator[None]:
    """What is begun here is begun whole: both signals are heard at its end."""
    global _held
    _held = True
    try:
        yield
    finally:
        _held = False
    check()


def _ask(number: int, frame: FrameType | None) -> None:
    global _asked
    _asked = True
    overhear_sigterm()
    if not _held:
        raise KeyboardInterrupt


def overhear_sigterm() -> None:
    """A launcher, and a cluster behind it, may each pass it on. With SIG_IGN Python would print a traceback where it is on its
    way already."""
    signal.signal(signal.SIGTERM, lambda *_: None)
