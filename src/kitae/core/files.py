"""The one way to write, read and hash files. Nothing half-written ever carries its final name."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from kitae.core.errors import InputError, KitaeError, first_line

JsonDict = dict[str, Any]
_FULL = {errno.ENOSPC, errno.EDQUOT}
_ROOM = 1 << 20  # bytes; who has written until nothing fits leaves less
_DENIED = {
    *(errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG),
}


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns the operating system's refusals into sentences."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise KitaeError("disk-full", where=str(path), why=str(error)) from error
        if error.errno in _DENIED:
            raise InputError("not-writable", where=str(path), why=str(error)) from error
        raise
    except KitaeError:
        raise
    except Exception as error:  # writers of weights have errors of their own for a disk without room
        if any(os.strerror(code) in str(error) for code in _FULL) or not _has_room(path):
            raise KitaeError("disk-full", where=str(path), why=first_line(error)) from error
        raise


def _has_room(path: Path) -> bool:
    if not path.parent.exists():
        return True
    disk = os.statvfs(path.parent)
    return disk.f_frsize * (disk.f_bfree if os.geteuid() == 0 else disk.f_bavail) >= _ROOM


@contextlib.contextmanager
def creating(path: Path) -> Iterator[None]:
    """Like `explained`, where something new is made: some special file systems then say that it is missing."""
    try:
        with explained(path):
            yield
    except FileNotFoundError as error:
        raise InputError("not-writable", where=str(path), why=str(error)) from error


@contextlib.contextmanager
def staged_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; on success it is synced and renamed into place, on failure removed."""
    with creating(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
    stage = Path(name)
    try:
        with explained(path):
            yield stage
            _sync(stage)
            stage.chmod(0o644)
            stage.replace(path)
            _sync(path.parent)
    finally:
        stage.unlink(missing_ok=True)


@contextlib.contextmanager
def staged_folder(path: Path) -> Iterator[Path]:
    """Like `staged_file` for a whole folder. What was at `path` before stays until the new one is complete."""
    with creating(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    try:
        with explained(path):
            yield stage
            for file in stage.rglob("*"):
                if file.is_file():
                    file.chmod(0o644)
                    _sync(file)
            stage.chmod(0o755)
            old = path.with_name(f".{path.name}.old.part")
            if path.exists():
                shutil.rmtree(old, ignore_errors=True)
                path.replace(old)
            try:
                stage.replace(path)
            except OSError:
                if old.exists():
                    old.replace(path)
                raise
            _sync(path.parent)
            shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Two commands in one folder would spoil each other's files; the second one is told so."""
    with creating(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("w")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError("out-busy", where=str(folder)) from error
        yield


def refuse_taken(folder: Path) -> None:
    """A place for something new is free, or an empty folder."""
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError("out-not-empty", where=str(folder))


def remove_folder(path: Path) -> None:
    """Gone at once: a process that is killed while it deletes leaves a leftover, not half of a folder under its name."""
    if path.exists():
        doomed = path.with_name(f".{path.name}.doomed.part")
        shutil.rmtree(doomed, ignore_errors=True)
        path.replace(doomed)
        shutil.rmtree(doomed)


def remove_leftovers(folder: Path) -> None:
    """Removes what a killed process left half-written in a folder."""
    for leftover in folder.glob(".*.part"):
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    with staged_file(path) as stage:
        stage.write_text(text, encoding="utf-8", errors="backslashreplace")  # JSON can spell half a character


def write_json(path: Path, value: object) -> None:
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def write_jsonl(path: Path, rows: Iterable[object]) -> None:
    with staged_file(path) as stage, stage.open("w", encoding="utf-8", errors="backslashreplace") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def append_json(path: Path, value: object) -> None:
    """One line, written at once and whole, so a reader never sees half of one."""
    line = json.dumps(value, ensure_ascii=False) + "\n"
    with explained(path.parent), path.open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":  # a killed machine's half line must not swallow this one
                line = "\n" + line
        file.write(line.encode("utf-8", "backslashreplace"))


def appended(path: Path) -> Iterator[Any]:
    """What was, but for a killed machine's half line."""
    if not path.exists():
        return
    for line in path.read_bytes().split(b"\n"):
        try:
            yield json.loads(line.decode("utf-8", "replace"))
        except ValueError:
            continue


def read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError("file-missing", where=str(path)) from error
    except IsADirectoryError as error:
        raise InputError("file-folder", where=str(path)) from error
    except (OSError, ValueError) as error:  # no permission, not UTF-8
        raise InputError("file-unreadable", where=str(path), why=str(error)) from error


def read_json(path: Path) -> JsonDict:
    try:
        value = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise InputError("file-unreadable", where=str(path), why=str(error)) from error
    if not isinstance(value, dict):
        raise InputError("file-unreadable", where=str(path), why=f"{type(value).__name__} is not an object")
    return value


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def hash_text(*parts: str) -> str:
    """A short name for a combination of texts, safe against parts that run into each other."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
