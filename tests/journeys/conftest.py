"""Whole commands in real processes, on a model that is small enough to train in seconds.

The model is a two-layer Llama with the starter's template and most usual tokens, made here. It knows nothing, so thresholds
about quality are loosened in its recipe; everything about identity, tokens, templates and files is as strict as ever.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from filelock import FileLock

from kitae.data.appointments import write_splits

from ..conftest import Tiny
from .forked import run_in_copy

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([run_in_copy.__module__])
_LONGEST = 300  # seconds that a command may take

RECIPE = """\
name: tiny
model: {{source: {model}, max_length: 256}}
data:
  train: [{{path: train.jsonl, licence: CC0-1.0}}]
  validation: [{{path: validation.jsonl, licence: CC0-1.0}}]
  test: [{{path: test.jsonl, licence: CC0-1.0}}]
train: {{epochs: 2, learning_rate: 1.0e-2, batch_tokens: 700, evaluations: 4, precision: fp32, lora: {{r: 8, alpha: 16}}}}
evaluate: {{prompts: 8, rows: 8, max_new_tokens: 24}}
verify: {{stop_rate: 0.0, loop_rate: 1.0, stop_probability: 1.0e-9, equivalent_kld: 1.0e-3}}
ship: {{gguf: [F16, Q8_0]}}
"""


@dataclass
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Command:
    """One that runs in a copy, with what `subprocess.Popen` has."""

    def __init__(self, arguments: list[str], environment: dict[str, str], stdin: str) -> None:
        self._folder = TemporaryDirectory()
        streams = Path(self._folder.name)
        (streams / "in").write_text(stdin, errors="surrogateescape")
        self._process = PROCESSES.Process(target=run_in_copy, args=(arguments, environment, Path.cwd(), streams))
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self._process.is_alive():
            os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()

    def wait(self, timeout: float = 300) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("kitae", timeout, *map(str.encode, self.said()))
        return self._process.exitcode

    def said(self) -> tuple[str, str]:
        found = (Path(self._folder.name) / name for name in ("out", "err"))
        out, err = (path.read_text(errors="surrogateescape") if path.exists() else "" for path in found)
        return out, err

    def communicate(self, timeout: float = 300) -> tuple[str, str]:
        self.wait(timeout)
        return self.said()


@dataclass
class Kitae:
    """The command line, with a home that outlives one command."""

    home: Path

    def environment(self, **extra: str) -> dict[str, str]:
        return {**os.environ, "KITAE_HOME": str(self.home), "OMP_NUM_THREADS": "1", "KITAE_LANG": "en", **extra}

    def __call__(self, *arguments: object, stdin: str = "", **extra: str) -> Done:
        command = self.begin(*arguments, stdin=stdin, **extra)
        try:
            out, err = command.communicate(_LONGEST)
        except subprocess.TimeoutExpired:
            command.kill()
            raise
        assert "Traceback" not in err, err
        assert command.returncode is not None
        return Done(command.returncode, out, err)

    def begin(self, *arguments: object, stdin: str = "", **extra: str) -> Command:
        """A command that runs while the test goes on."""
        return Command([*map(str, arguments)], self.environment(**extra), stdin)

    def begin_two(self, *arguments: object) -> tuple[Command, Command]:
        """Two processes that train together, as `torchrun` starts them."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
        shared |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
        first, second = (self.begin(*arguments, RANK=number, LOCAL_RANK=number, **shared) for number in "01")
        return first, second

    def two(self, *arguments: object) -> Done:
        """What the first of them says."""
        both = self.begin_two(*arguments)
        (out, err), (silent, said) = (command.communicate(_LONGEST) for command in both)
        first, second = (command.returncode for command in both)
        assert not silent and first == second is not None, said
        assert "Traceback" not in err + said, err + said
        return Done(first, out, err)

    def from_nothing(self, *arguments: object, group: bool = False) -> subprocess.Popen[str]:
        """As a shell starts it. `group`: with what it starts it makes a group of processes, as in a terminal."""
        return subprocess.Popen(
            [sys.executable, "-m", "kitae.cli.main", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment(),
            start_new_session=group,
            # A shell that runs the tests in the background makes them, and what they start, deaf to Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )


@pytest.fixture(scope="session")
def tiny_model(tiny_llama: Tiny) -> Path:
    return tiny_llama(tokens=8192)


def workplace(folder: Path, model: Path, train: int = 64) -> Path:
    """A folder with data and a recipe; returns the recipe."""
    write_splits(folder, {"train": train, "validation": 12, "test": 12})
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE.format(model=model))
    return recipe


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Any:
    """What `make` makes in a folder, as JSON knows it: by the first worker that asks, for all of them."""
    shared = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder = shared / f"once-{name}"
    with FileLock(shared / f"once-{name}.lock"):
        made = folder / "made.json"
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            value = make(folder)
            made.write_text(json.dumps(value))
        return json.loads(made.read_text())


@pytest.fixture(scope="session")
def session_kitae(tmp_path_factory: pytest.TempPathFactory) -> Kitae:
    """A home that all workers share."""
    return Kitae(Path(once(tmp_path_factory, "home", lambda folder: str(folder / "home"))))


@pytest.fixture(scope="session")
def trained(session_kitae: Kitae, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A trained run with its merged folder and GGUF files made, none of them proven yet."""

    def make(folder: Path) -> str:
        done = session_kitae("train", workplace(folder, tiny_model), "--json")
        assert done.code == 0, done.err + done.out
        run = str(done.json["run"])
        assert session_kitae("merge", run).code == 0
        for quant in ("F16", "Q8_0"):
            assert session_kitae("export", run, "--gguf", quant).code == 0
        return run

    return str(once(tmp_path_factory, "trained", make))


@pytest.fixture
def kitae(session_kitae: Kitae, tmp_path: Path) -> Kitae:
    """A home of the test's own."""
    return Kitae(tmp_path / "home")


@pytest.fixture
def copied(session_kitae: Kitae, trained: str, kitae: Kitae) -> Path:
    """A copy of the trained run that a test may break."""
    target = kitae.home / "runs" / trained
    shutil.copytree(session_kitae.home / "runs" / trained, target)
    return target
