"""Fresh processes: nothing of the one that asks, nothing of each other, and none is left behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tests import worker_tasks

from kitae.core import workers
from kitae.core.console import Progress
from kitae.core.workers import forget, run_fresh


@pytest.fixture(autouse=True)
def _none_before() -> Iterator[None]:
    forget()
    yield
    forget()


@pytest.fixture(autouse=True)
def _helpers_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]), prepend=os.pathsep)


def test_what_it_prints_and_how_it_ends() -> None:
    assert run_fresh(worker_tasks.prints, "said", "3") == (3, "said\n")
    code, printed = run_fresh(worker_tasks.fails)
    assert code == 1 and "ValueError: on purpose" in printed
    assert run_fresh(worker_tasks.leaves, "for a reason") == (1, "for a reason\n")
    assert run_fresh(worker_tasks.aborts)[0] == -signal.SIGABRT


def test_nothing_is_left_of_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    worker_tasks.REMEMBERED.append("here")
    for word in ("first", "second"):
        assert run_fresh(worker_tasks.remembers, word) == (0, f"{word}\n")
    monkeypatch.setenv("KITAE_WORD", "of now")
    assert run_fresh(worker_tasks.prints_variable, "KITAE_WORD")[1] == "of now\n"
    monkeypatch.delenv("KITAE_WORD")
    assert run_fresh(worker_tasks.prints_variable, "KITAE_WORD")[1] == "None\n"


def test_libraries_are_imported_once() -> None:
    said = [run_fresh(worker_tasks.prints_import, imports=["tests.import_time"])[1] for _ in range(2)]
    assert said[0] == said[1] != ""


def test_libraries_are_imported_with_the_settings_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    run_fresh(worker_tasks.prints, "begun", "0")
    monkeypatch.setenv("KITAE_WORD", "of now")
    assert run_fresh(worker_tasks.prints_import, imports=["tests.import_time"])[1].split(maxsplit=1)[1] == "of now\n"


def test_files_that_lie_about_are_no_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("kitae", "json", "socket", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(77)")
    monkeypatch.chdir(tmp_path)
    assert run_fresh(worker_tasks.prints, "well", "0") == (0, "well\n")


def test_libraries_that_load_others_can_be_imported() -> None:
    """Which torch's can't in a folder that is gone."""
    code, printed = run_fresh(worker_tasks.multiplies, imports=["torch"])
    assert (code, printed) == (0, "8.0\n")


def test_what_a_library_says_when_it_ends_everything_is_told() -> None:
    code, printed = run_fresh(worker_tasks.prints, "never", "0", imports=["tests.dying_import"])
    assert code == 1 and "a part is missing" in printed
    assert run_fresh(worker_tasks.prints, "well", "0") == (0, "well\n")


def test_one_that_was_idle_is_followed_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_IDLE", 0.1)
    mine, other = socket.socketpair()
    if not os.fork():
        mine.close()
        workers.serve(other)
        os._exit(0)
    other.close()
    workers.connect(mine)
    time.sleep(0.5)
    assert run_fresh(worker_tasks.prints, "still", "0") == (0, "still\n")


def test_one_that_can_not_begin_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert run_fresh(worker_tasks.prints, "never", "0") == (1, "")


def test_work_that_was_begun_is_not_begun_again(tmp_path: Path) -> None:
    """Where the process of which it is a copy is killed: it may have been for want of memory."""
    code, _ = run_fresh(worker_tasks.kills_parent, str(tmp_path / "begun"))
    assert code == 1 and (tmp_path / "begun").read_text() == "begun\n"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_none_outlives_whoever_asked(tmp_path: Path, number: signal.Signals) -> None:
    code = "from kitae.core.workers import run_fresh; from tests import worker_tasks; run_fresh(worker_tasks.waits, %r)"
    asking = subprocess.Popen([sys.executable, "-c", code % str(tmp_path / "pid")])
    end = time.monotonic() + 60
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < end
        time.sleep(0.05)
    copy = int((tmp_path / "pid").read_text())
    assert psutil.pid_exists(copy)
    asking.send_signal(number)
    asking.wait()
    while psutil.pid_exists(copy):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_how_far_it_is_can_be_seen_from_outside(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    usual = Progress.__init__
    monkeypatch.setattr(Progress, "__init__", lambda self, label, total, patient=False: usual(self, label, total, 0.4, patient))
    run_fresh(worker_tasks.takes_steps, "0.5", label="working")
    said = capsys.readouterr().err
    assert re.search(r"stepping [234]/5 0:0[0-3]", said), said
    run_fresh(worker_tasks.takes_steps, "0.01", label="working")
    assert "stepping" not in capsys.readouterr().err


def test_threads_of_fresh_processes_are_patient_unless_somebody_wants_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    assert run_fresh(worker_tasks.prints_variable, "GOMP_SPINCOUNT")[1] == "1000\n"
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    assert run_fresh(worker_tasks.prints_variable, "GOMP_SPINCOUNT")[1] == "None\n"
