"""The folder that a run leaves: what was asked, what happened, what came out."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from kitae.core import paths
from kitae.core.errors import InputError, RunBusy
from kitae.core.files import JsonDict, append_json, appended, creating, explained, read_json, write_json, write_text
from kitae.runs.index import Index

STATES = ("running", "interrupted", "failed", "trained", "refused", "shipped")


@dataclass(frozen=True)
class Run:
    path: Path
    silent: bool = False  # nothing is recorded: another process does

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def recipe_name(self) -> str:
        """Its id is that, and when it began."""
        return self.id.rsplit("-", 3)[0]

    @property
    def recipe_path(self) -> Path:
        return self.path / "recipe.yaml"

    @property
    def manifest(self) -> JsonDict:
        return read_json(self.path / "manifest.json")

    @property
    def has_manifest(self) -> bool:
        return (self.path / "manifest.json").exists()

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def data(self) -> Path:
        """The rows as they were trained on, validated with and held out, so that every later step sees the same."""
        return self.path / "data"

    @property
    def start(self) -> Path:
        """The random weights that a new model began with."""
        return self.path / "start"

    @property
    def contexts(self) -> Path:
        """A New-LLM after its first phase."""
        return self.path / "contexts"

    @property
    def output(self) -> Path:
        """What training left: an adapter, or a whole model."""
        adapter = self.path / "adapter"
        return adapter if adapter.exists() else self.path / "model"

    @property
    def work(self) -> Path:
        """Artifacts on their way to `ship/`: complete files, not yet proven as a whole."""
        return self.path / "work"

    @property
    def ship(self) -> Path:
        return self.path / "ship"

    @property
    def withdrawn(self) -> Path:
        """A package that passed once and does not any more."""
        return self.path / "withdrawn"

    @property
    def reports(self) -> Path:
        return self.path / "reports"

    def write_manifest(self, manifest: JsonDict) -> None:
        write_json(self.path / "manifest.json", manifest)

    def record(self, event: str, **fields: object) -> None:
        if not self.silent:
            append_json(self.path / "events.jsonl", {"at": _now(), "event": event, **fields})

    def events(self, *kinds: str) -> Iterator[JsonDict]:
        return (e for e in appended(self.path / "events.jsonl") if not kinds or e.get("event") in kinds)

    def set_state(self, state: str) -> None:
        process = psutil.Process()
        self.record("state", state=state, pid=process.pid, process_started=process.create_time())

    @property
    def state(self) -> str:
        """As recorded, except that a run whose process is gone was interrupted."""
        states = list(self.events("state"))
        if not states:
            return "interrupted"
        last = states[-1]
        if last["state"] == "running" and not _alive(int(last["pid"]), float(last["process_started"])):
            return "interrupted"
        return str(last["state"])

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Two commands that write into one run would spoil each other's files; the second one is told so."""
        with explained(self.path):
            file = (self.path / ".lock").open("w")
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RunBusy("run-busy", where=self.id) from error
            yield

    def check_free(self) -> None:
        """Raises an error where another command is at work on it."""
        with self.alone():
            pass

    def remove(self) -> None:
        with self.alone():
            shutil.rmtree(self.path)


def create_run(name: str, recipe_yaml: str, files: Mapping[str, str] | None = None) -> Run:
    """`files`: texts that the recipe refers to, by name."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    path = paths.runs_dir() / f"{name}-{stamp}-{secrets.token_hex(3)}"
    with creating(path):
        path.mkdir(parents=True)
    run = Run(path)
    for file, text in (files or {}).items():
        write_text(path / file, text)
    write_text(run.recipe_path, recipe_yaml)
    run.set_state("running")  # last: a run that has a state can be resumed
    return run


def all_runs() -> list[Run]:
    """Newest first. The folders are the truth, so one that was deleted or copied in by hand is noticed."""
    folder = paths.runs_dir()
    try:
        with explained(folder):
            present = [path for path in folder.iterdir() if (path / "recipe.yaml").exists()]
    except FileNotFoundError:
        return []
    return [Run(path) for path in sorted(present, key=lambda path: path.name[-22:], reverse=True)]


def all_states() -> dict[Run, str]:
    """Every run with its state. A state that can't change by itself is read once and remembered."""
    index = Index()
    known, found = index.states(), {}
    for run in all_runs():
        events = run.path / "events.jsonl"
        try:
            stamp = events.stat().st_mtime_ns
        except FileNotFoundError:
            stamp = 0  # a run without events is still a run
        remembered = known.pop(str(run.path), None)
        if remembered and remembered[0] == stamp:
            found[run] = remembered[1]
            continue
        found[run] = run.state
        if found[run] != "running":  # its process may die without a word
            index.put(run.path, stamp, found[run])
    index.forget(known)
    return found


def is_run(reference: str) -> bool:
    return bool(_matching(reference))


def find_run(reference: str) -> Run:
    """A run by id, by the unique beginning of its id, or by its folder."""
    matches = _matching(reference)
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise InputError("run-ambiguous", where=reference, why="\n".join(run.id for run in matches[:10]))
    raise InputError("run-missing", where=reference, why="\n".join(run.id for run in all_runs()[:5]))


def _matching(reference: str) -> list[Run]:
    folder = Path(os.path.expanduser(reference))  # noqa: PTH111 - Path's own raises for unknown users
    if all(os.path.exists(folder / name) for name in ("recipe.yaml", "events.jsonl")):  # noqa: PTH110
        return [Run(folder.absolute())]
    if not re.fullmatch(r"[\w.-]+", reference):
        return []
    runs = [run for run in all_runs() if run.id.startswith(reference)]
    return [run for run in runs if run.id == reference] or runs


def _alive(pid: int, started: float) -> bool:
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - started) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _now() -> str:
    return datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds")
