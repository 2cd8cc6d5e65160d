"""What fresh processes are asked to do."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

REMEMBERED: list[str] = []


def prints(word: str, code: str) -> None:
    print(word)
    sys.exit(int(code))


def fails() -> None:
    raise ValueError("on purpose")


def leaves(why: str) -> None:
    sys.exit(why)


def kills_parent(file: str) -> None:
    with Path(file).open("a") as begun:
        begun.write("begun\n")
    os.kill(os.getppid(), signal.SIGKILL)


def aborts() -> None:
    os.abort()


def remembers(word: str) -> None:
    REMEMBERED.append(word)
    print(*REMEMBERED)


def prints_variable(name: str) -> None:
    print(os.environ.get(name))


def prints_import() -> None:
    """When a module was imported that is imported beforehand, and with which setting."""
    from tests import import_time

    print(import_time.WHEN, import_time.WORD)


def waits(file: str) -> None:
    Path(file).write_text(str(os.getpid()))
    time.sleep(600)


def takes_steps(pause: str) -> None:
    from kitae.core.console import with_progress

    for _ in with_progress("stepping", range(5)):
        time.sleep(float(pause))


def multiplies() -> None:
    import torch

    print(float((torch.ones(2, 2) @ torch.full((2, 2), 2.0)).sum() / 2))
