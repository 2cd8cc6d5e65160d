"""Real servers: `kitae serve` in a process of its own, on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kitae.models import starter_file
from tests.conftest import Tiny


@dataclass
class Served:
    url: str
    process: subprocess.Popen[str]
    key: str | None = None

    def post(self, path: str, body: Any, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {
            "Content-Type": "application/json",
            **({"Authorization": f"Bearer {self.key}"} if self.key else {}),
            **(headers or {}),
        }
        return self._ask(urllib.request.Request(self.url + path, data, sent))

    def get(self, path: str, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        return self._ask(urllib.request.Request(self.url + path, headers=headers or {}))

    def _ask(self, request: urllib.request.Request) -> tuple[int, Any]:
        try:
            with urllib.request.urlopen(request, timeout=120) as response:
                status, body = response.status, response.read()
        except urllib.error.HTTPError as error:
            status, body = error.code, error.read()
        try:
            return status, json.loads(body)
        except ValueError:
            return status, body.decode()

    def chat(self, text: str = "Name a colour.", **more: Any) -> tuple[int, Any]:
        messages = more.pop("messages", [{"role": "user", "content": text}])
        return self.post(
            "/v1/chat/completions", {"model": "m", "messages": messages, "temperature": 0, "max_tokens": 8, **more}
        )

    def events(self, path: str, body: dict[str, Any]) -> list[Any]:
        """Of a stream, all of them; the last one is [DONE]."""
        _, text = self.post(path, {"model": "m", **body, "stream": True})
        assert isinstance(text, str), text
        lines = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
        return [line if line == "[DONE]" else json.loads(line) for line in lines]


@contextmanager
def serving(*arguments: str, home: Path | None = None, **environment: str) -> Iterator[Served]:
    command = [sys.executable, "-m", "kitae.cli.main", "serve", *arguments, "--port", "0", "--lang", "en"]
    more = {"KITAE_HOME": str(home)} if home else {}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **more, **environment})
    assert process.stderr is not None
    said = []
    try:
        for line in process.stderr:
            said.append(line)
            if line.startswith("Listening at "):
                yield Served(line.split()[2], process)
                break
        else:
            raise AssertionError("".join(said))
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(60)
        process.stderr.close()


def until(wanted: Any, seconds: float = 30.0) -> None:
    limit = time.monotonic() + seconds
    while not wanted():
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(0.05)


@pytest.fixture(scope="session")
def gguf() -> Iterator[Served]:
    """The starter, by llama.cpp."""
    with serving(f"m={starter_file()}", "--at-once", "4", "--context", "1024") as found:
        yield found


@pytest.fixture(scope="session")
def folder(tiny_llama: Tiny) -> Iterator[Served]:
    """A tiny model, by torch."""
    with serving(f"m={tiny_llama(tokens=4096)}", "--at-once", "4") as found:
        yield found


@pytest.fixture(params=["gguf", "folder"])
def server(request: pytest.FixtureRequest) -> Served:
    found: Served = request.getfixturevalue(request.param)
    return found
