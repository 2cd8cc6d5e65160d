"""A small SQLite index over all runs, so that listing thousands needs no walk through their folders."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kitae import paths
from kitae.files import explained

_SCHEMA = "CREATE TABLE IF NOT EXISTS runs (id TEXT PRIMARY KEY, path TEXT NOT NULL, state TEXT NOT NULL)"


class Index:
    def __init__(self) -> None:
        self._path = paths.home() / "index.sqlite"

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with explained(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._path, timeout=30)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(_SCHEMA)
            with connection:
                yield connection
        finally:
            connection.close()

    def put(self, run: str, path: Path, state: str) -> None:
        with self._open() as connection:
            connection.execute("INSERT OR REPLACE INTO runs VALUES (?, ?, ?)", (run, str(path), state))

    def drop(self, run: str) -> None:
        with self._open() as connection:
            connection.execute("DELETE FROM runs WHERE id = ?", (run,))

    def paths(self) -> list[Path]:
        with self._open() as connection:
            return [Path(path) for (path,) in connection.execute("SELECT path FROM runs")]
