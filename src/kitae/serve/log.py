"""What was asked and answered, in a SQLite file. Written by a thread of its own, so that nobody waits for a disk."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from kitae.core.console import console
from kitae.core.errors import InputError
from kitae.core.i18n import t

_TABLE = """create table if not exists requests (
    id text primary key, at real not null, route text not null, owner text not null, model text not null, version text not null,
    request text not null, reply text, status integer not null, seconds real not null
)"""


def check_log(path: Path) -> None:
    """Whether requests can be kept there."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))  # conversations are nobody else's business
        with sqlite3.connect(path) as database:
            database.execute("pragma journal_mode=wal")
            database.execute(_TABLE)
    except (OSError, sqlite3.Error) as error:
        raise InputError("serve-log", where=str(path), why=str(error)) from error


class RequestLog:
    """Of a file that has been checked."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: SimpleQueue[tuple[Any, ...] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="kitae-log", daemon=True)
        self._thread.start()

    def add(
        self, id_: str, route: str, owner: str, model: str, version: str, request: Any, reply: Any, status: int, seconds: float
    ) -> None:
        said = None if reply is None else json.dumps(reply)  # in ASCII: JSON can spell what is no text
        asked = json.dumps(request)
        self._rows.put((id_, time.time(), route, owner, model, version, asked, said, status, seconds))

    def close(self) -> None:
        self._rows.put(None)
        self._thread.join()

    def _write(self) -> None:
        database = sqlite3.connect(self._path, timeout=30)
        told = False
        while (row := self._rows.get()) is not None:
            try:
                with database:
                    database.execute("insert into requests values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
            except Exception as error:  # a full disk is no reason to stop answering
                if not told:
                    console.say(t("serve.log-failed", path=self._path, why=error))
                told = True
        database.close()
