"""A small SQLite index of what state each run is in, so that listing thousands doesn't read all of their events.

It is a memory and no truth: where it can't be read or written, the folders are asked instead.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from kitae.core import paths

T = TypeVar("T")
_SCHEMA = "CREATE TABLE IF NOT EXISTS states (path TEXT PRIMARY KEY, stamp INTEGER NOT NULL, state TEXT NOT NULL)"


class Index:
    def __init__(self) -> None:
        self._path = paths.home() / "index.sqlite"

    def states(self) -> dict[str, tuple[int, str]]:
        """Path of a run → (when its events last changed, its state then)."""
        rows = self._use(lambda c: c.execute("SELECT path, stamp, state FROM states").fetchall())
        return {path: (stamp, state) for path, stamp, state in rows or []}

    def put(self, run: Path, stamp: int, state: str) -> None:
        self._use(lambda c: c.execute("INSERT OR REPLACE INTO states VALUES (?, ?, ?)", (str(run), stamp, state)))

    def forget(self, runs: Iterable[str]) -> None:
        self._use(lambda c: c.executemany("DELETE FROM states WHERE path = ?", [(run,) for run in runs]))

    def _use(self, action: Callable[[sqlite3.Connection], T]) -> T | None:
        """None where SQLite can't: a full disk or a damaged file must not hide a user's runs."""
        try:
            with contextlib.closing(sqlite3.connect(self._path, timeout=5)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute(_SCHEMA)
                with connection:
                    return action(connection)
        except sqlite3.Error as error:
            if type(error) is sqlite3.DatabaseError:  # damaged; the narrower types say locked, full or read-only
                with contextlib.suppress(OSError):
                    self._path.unlink()
            return None
