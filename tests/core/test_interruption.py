"""Ctrl-C and SIGTERM that come while something swallows them."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from kitae.core import interruption


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_was_swallowed_is_raised_again(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), interruption.heard():
        interruption.check()
        try:
            os.kill(os.getpid(), number)
            raise AssertionError("it was not heard")
        except KeyboardInterrupt:
            pass  # as an import does
        interruption.check()
    assert signal.getsignal(number) is before
    interruption.check()  # it is over


def test_two_signals_at_once_are_one_interruption(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[object] = []
    monkeypatch.setattr("sys.unraisablehook", told.append)
    both = (signal.SIGINT, signal.SIGTERM)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, both)
    try:
        with pytest.raises(KeyboardInterrupt), interruption.heard():
            for number in both:  # to this thread: another one would not wait until both are there
                signal.pthread_kill(threading.main_thread().ident or 0, number)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, both)
            interruption.check()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert not told


def test_what_is_begun_is_begun_whole() -> None:
    begun = []
    with pytest.raises(KeyboardInterrupt), interruption.heard():
        with interruption.held():
            os.kill(os.getpid(), signal.SIGTERM)
            begun.append(True)
        begun.append(False)
    assert begun == [True]


def test_an_error_that_it_caused_is_an_interruption() -> None:
    with pytest.raises(KeyboardInterrupt), interruption.heard():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except KeyboardInterrupt as error:
            raise ImportError("no such module") from error
    with pytest.raises(ImportError), interruption.heard():
        raise ImportError("no such module")
