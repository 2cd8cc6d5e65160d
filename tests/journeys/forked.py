"""Commands in processes that begin as copies of one that has imported the libraries, which takes most of a command's time.

What tests about processes themselves need (terminals, groups, launchers, settings that libraries read when they are imported)
they start themselves, from nothing.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("TQDM_DISABLE", "1")  # as the command line does before it imports anything

import peft  # noqa: F401
import torch  # noqa: F401
from transformers import Trainer  # noqa: F401 - names are imported when they are first asked for

import kitae.cli.commands
import kitae.verify.opening  # noqa: F401
from kitae.cli.main import main
from kitae.core import interruption
from kitae.core.workers import connect, serve

_STREAMS = ("in", "out", "err")


def _serve_copies() -> None:
    """The process from which this command's own fresh processes begin, as it would be after its imports."""
    mine, other = socket.socketpair()
    if not os.fork():
        mine.close()
        serve(other)
        os._exit(0)
    other.close()
    connect(mine)


def run_in_copy(arguments: list[str], environment: dict[str, str], place: Path, streams: Path) -> None:
    """In a new process: the command, with files of the folder `streams` as its three streams."""
    # A shell that runs the tests in the background makes them, and what they start, deaf to Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(place)
    import_module("kitae.workflows.sweeps").subprocess = SimpleNamespace(Popen=Trial, PIPE=subprocess.PIPE)
    opened = [
        os.open(streams / name, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for number, name in enumerate(_STREAMS)
    ]
    _command(arguments, opened)


def _command(arguments: Sequence[str], streams: Sequence[int]) -> None:
    _serve_copies()
    for number, opened in enumerate(streams):
        os.dup2(opened, number)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - a trial's takes the place of its sweep's, which would close it
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.argv = ["kitae", *arguments]
    try:
        main()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


class Trial:
    """What a sweep starts: a command of this very program, as `subprocess.Popen` would run it, in a copy that needs no imports.
    Sweeps that are stopped on purpose begin from nothing, and so do their trials."""

    def __init__(self, command: Sequence[str], stdout: int, text: bool) -> None:
        assert command[:3] == [sys.executable, "-m", "kitae.cli.main"] and stdout == subprocess.PIPE and text
        self.returncode: int | None = None
        self._out = tempfile.TemporaryFile("w+")  # noqa: SIM115 - read when it has ended
        self._number = os.fork()
        if not self._number:
            self._become(command[3:])

    def _become(self, arguments: Sequence[str]) -> None:
        code = 1
        try:
            interruption._held = False
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            _command(arguments, (0, self._out.fileno(), 2))
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
        finally:
            os._exit(code)

    def communicate(self, timeout: float | None = None) -> tuple[str, None]:
        until = time.monotonic() + (timeout if timeout is not None else float("inf"))
        while self.returncode is None:
            ended, status = os.waitpid(self._number, os.WNOHANG)
            if ended:
                self.returncode = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > until:
                raise subprocess.TimeoutExpired("kitae", timeout or 0)
            else:
                time.sleep(0.02)
        self._out.seek(0)
        return self._out.read(), None

    def terminate(self) -> None:
        os.kill(self._number, signal.SIGTERM)
