"""Progress for people: lines now and then where no terminal is, nothing when they asked for quiet."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kitae.console import Progress, console, watched


@pytest.fixture(autouse=True)
def unchanged() -> Iterator[None]:
    yield
    console.quiet = False


def test_work_is_watched(capsys: pytest.CaptureFixture[str]) -> None:
    assert watched("learning", lambda: 42) == 42
    assert capsys.readouterr().err in ("", "  learning 0:00\n")
    with pytest.raises(ZeroDivisionError):
        watched("learning", lambda: 1 / 0)


def test_progress_with_and_without_a_total(capsys: pytest.CaptureFixture[str]) -> None:
    for total, lines in ((None, ["  reading a.txt 0:00"]), (4, ["  reading 0/4 a.txt 0:00", "  reading 4/4 a.txt 0:00"])):
        progress = Progress("reading", total)
        for done in range(5):
            progress.update(done, "a.txt")
        progress.close()
        assert capsys.readouterr().err.splitlines() == lines


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    console.quiet = True
    Progress("reading", None).update(0)
    assert watched("learning", lambda: "done") == "done"
    assert capsys.readouterr().err == ""
