"""Work in other processes: in fresh ones, which have nothing of this one but its settings, and in those of other programs.

Fresh ones begin as copies of a process that has imported libraries and done nothing else, because importing them takes longer
than most of the work. That process is started when it is first needed, and ends with this one or when it was idle for a while.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from kitae.core.console import Followed, Progress, console
from kitae.core.hardware import patient_threads

_IDLE = 30  # seconds, after which what it holds is worth more than what it saves
_POLL = 0.02
_TAKEN = b"+"  # what is said before work begins, which then is not asked for again
_LONGEST_LINE = 1 << 20
_lock = threading.Lock()
_server: socket.socket | None = None
_errors: IO[str] | None = None  # what the server prints, which is what it died of


def run_fresh(work: Callable[..., None], *arguments: str, imports: Sequence[str] = (), label: str = "") -> tuple[int, str]:
    """Its exit code, and what it printed. `imports`: modules that work of this kind needs. It runs in an empty folder, so that
    nothing lying about can pose as a module."""
    with _lock, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        place, printed, relay = (Path(scratch) / name for name in ("empty", "printed", "progress"))
        place.mkdir()
        wanted = {
            "work": [work.__module__, work.__name__],
            "arguments": arguments,
            "imports": [work.__module__, *imports],
            "environment": {**os.environ, **patient_threads()},
            "place": str(place),
            "printed": str(printed),
            "relay": str(relay),
        }
        code = _answer(json.dumps(wanted), Followed(label, relay))
        said = printed.read_text(encoding="utf-8", errors="replace") if printed.exists() else ""
        return code, said if said or not code else _complaint()


def _answer(wanted: str, progress: Followed) -> int:
    try:
        for _ in range(2):  # it may have become idle just now
            server = _running()
            with contextlib.suppress(ConnectionError):
                server.sendall(f"{wanted}\n".encode())
                if server.recv(1) == _TAKEN:
                    while not select.select([server], [], [], 0.2)[0]:
                        progress.look()
                    return int(server.recv(64) or 1)
            forget()
        return 1
    except BaseException:
        forget()  # it ends its copy when nobody listens any more
        raise
    finally:
        progress.close()


def _complaint() -> str:
    if _errors is None:
        return ""
    _errors.seek(0)
    return _errors.read()


def _running() -> socket.socket:
    global _server, _errors
    if _server is None:
        _server, other = socket.socketpair()
        _errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - read when it has died
        with tempfile.TemporaryDirectory() as empty:
            with other:
                subprocess.Popen(
                    [sys.executable, "-c", f"from kitae.core.workers import serve_at; serve_at({other.fileno()})"],
                    pass_fds=[other.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=_errors,
                    cwd=empty,
                )
            _server.recv(1)  # until it has left its folder, or has ended
    return _server


def connect(server: socket.socket) -> None:
    """To one that something else has started."""
    global _server
    _server = server


def forget() -> None:
    global _server
    if _server is not None:
        _server.close()
        _server = None


os.register_at_fork(after_in_child=forget)


def serve_at(number: int) -> None:
    sys.path = [place for place in sys.path if place]  # no module from wherever it is
    os.chdir(os.sep)  # which stays; some libraries can't be imported in a folder that is gone
    connection = socket.socket(fileno=number)
    connection.sendall(b" ")
    serve(connection)


def serve(connection: socket.socket) -> None:
    """One copy after the other, until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever asks hears it, too
    while select.select([connection], [], [], _IDLE)[0]:
        line = b""
        while not line.endswith(b"\n"):
            part = connection.recv(_LONGEST_LINE)
            if not part:
                return
            line += part
        connection.sendall(_TAKEN)
        wanted = json.loads(line)
        os.environ.clear()
        os.environ.update(wanted["environment"])  # some libraries read it when they are imported
        for module in wanted["imports"]:
            with contextlib.suppress(Exception):  # the copy will fail by the same, and say so
                importlib.import_module(module)
        copy = os.fork()
        if not copy:
            connection.close()
            _become(wanted)
        code = _watched(copy, connection)
        if code is None:
            return
        connection.sendall(f"{code}\n".encode())


def _watched(copy: int, connection: socket.socket) -> int | None:
    """Its exit code; or nothing, because nobody asks for it any more."""
    while True:
        ended, status = os.waitpid(copy, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if select.select([connection], [], [], _POLL)[0] and not connection.recv(1, socket.MSG_PEEK):
            os.kill(copy, signal.SIGKILL)
            os.waitpid(copy, 0)
            return None


def _become(wanted: dict[str, Any]) -> None:
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.chdir(wanted["place"])
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        printed = os.open(wanted["printed"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(printed, 1)
        os.dup2(printed, 2)
        console.relay = Path(wanted["relay"])
        module, name = wanted["work"]
        getattr(importlib.import_module(module), name)(*wanted["arguments"])
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        if isinstance(error.code, str):
            print(error.code)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def finish(process: subprocess.Popen[str], label: str) -> tuple[str, str]:
    """What it printed on stdout and stderr, where those are pipes. The clock is shown meanwhile."""
    progress = Progress(label, None)
    try:
        while True:
            try:
                out, err = process.communicate(timeout=0.2)
                return out or "", err or ""
            except subprocess.TimeoutExpired:
                progress.update(0)
    finally:
        progress.close()
