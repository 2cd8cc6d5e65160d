"""Progress for people: lines now and then where no terminal is, nothing when they asked for quiet."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from kitae.core.console import Progress, console, watched


@pytest.fixture(autouse=True)
def unchanged() -> Iterator[None]:
    yield
    console.quiet = False


def test_work_is_watched(capsys: pytest.CaptureFixture[str]) -> None:
    assert watched("learning", lambda: 42) == 42
    assert capsys.readouterr().err == ""  # it was over soon
    with pytest.raises(ZeroDivisionError):
        watched("learning", lambda: 1 / 0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    yield now


@pytest.mark.parametrize(
    ("total", "lines"),
    [
        (None, ["  reading a.txt 0:20", "  reading a.txt 0:40"]),
        (14, ["  reading 10/14 a.txt", "  reading 12/14 a.txt 0:20", "  reading 14/14 a.txt 0:00"]),  # it was resumed
    ],
)
def test_progress_with_and_without_a_total(
    total: int | None, lines: list[str], clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    progress = Progress("reading", total, every=15.0)
    for done in range(10, 15):
        progress.update(done, "a.txt")
        clock[0] += 10
    progress.close()
    assert capsys.readouterr().err.splitlines() == lines


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    console.quiet = True
    Progress("reading", None).update(0)
    assert watched("learning", lambda: "done") == "done"
    assert capsys.readouterr().err == ""
