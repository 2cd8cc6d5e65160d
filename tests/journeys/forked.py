"""Commands in processes that begin as copies of one that has imported the libraries, which takes most of a command's time.

What tests about processes themselves need (signals, terminals, settings that libraries read when they are imported) they start
themselves, from nothing.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

os.environ.setdefault("TQDM_DISABLE", "1")  # as the command line does before it imports anything

import peft  # noqa: F401
import torch  # noqa: F401
from transformers import Trainer  # noqa: F401 - names are imported when they are first asked for

import kitae.cli.commands
import kitae.evaluate.folders  # noqa: F401
from kitae.cli.main import main
from kitae.copies import connect, serve

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
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(place)
    _serve_copies()
    for number, name in enumerate(_STREAMS):
        opened = os.open(streams / name, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, number)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", errors="backslashreplace")  # noqa: SIM115
    sys.argv = ["kitae", *arguments]
    try:
        main()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
