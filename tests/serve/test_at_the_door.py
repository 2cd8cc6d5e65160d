"""Who may come in, with what, and how a server goes."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from kitae.models import starter_file
from tests.conftest import Tiny

from .conftest import Served, serving, until

pytestmark = pytest.mark.slow(60)
HI = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4, "temperature": 0}


def test_keys(tiny_llama: Tiny) -> None:
    with serving(f"m={tiny_llama(tokens=4096)}", "--api-key-env", "SOME_KEYS", SOME_KEYS="one-key,another") as server:
        for key, status in ((None, 401), ("wrong", 401), ("one-key", 200), ("another", 200), ("one-key,another", 401)):
            server.key = key
            found, reply = server.post("/v1/chat/completions", HI)
            assert found == status
            if status == 401:
                assert reply["error"]["type"] == "authentication_error" and reply["error"]["code"] == "invalid_api_key"
        assert server.get("/health")[0] == 200 and server.get("/ready")[0] == 200
        assert server.get("/v1/models")[0] == server.get("/metrics")[0] == 401
        long = {**HI, "messages": [{"role": "user", "content": "the same beginning for all of them " * 4}]}
        known = []
        for key in ("one-key", "one-key", "another"):
            server.key = key
            known.append(server.post("/v1/chat/completions", long)[1]["usage"]["prompt_tokens_details"]["cached_tokens"])
        assert known[1] > known[0] == known[2], "what one has read is known to nobody else"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b"null", 400),
        (b'{"model": "m"}', 400),
        (b"\xff\xfe\x00", 400),
        (b"[" * 100_000, 400),
        (b'{"model": "m", "messages": [{"role": "user", "content": "\\ud800"}], "max_tokens": 2}', 400),
        (b"x" * (5 << 20), 413),
    ],
)
def test_bodies_that_are_none(gguf: Served, body: bytes, status: int) -> None:
    found, reply = gguf.post("/v1/chat/completions", body)
    assert found == status and reply["error"]["message"]
    assert gguf.chat()[0] == 200


def test_a_body_without_a_length_is_cut_off_too(gguf: Served) -> None:
    parts = urlsplit(gguf.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)

    def endless() -> Any:
        for _ in range(200):
            yield b"x" * (1 << 16)

    try:
        connection.request("POST", "/v1/chat/completions", endless(), {"Content-Type": "application/json"}, encode_chunked=True)
        assert connection.getresponse().status == 413
    except (BrokenPipeError, ConnectionResetError):
        pass  # it hung up, as it may
    assert gguf.chat()[0] == 200


def test_other_pages_and_other_names_are_kept_out(gguf: Served) -> None:
    assert gguf.post("/v1/chat/completions", HI, {"Origin": "https://evil.example"})[0] == 403
    assert gguf.get("/v1/models", {"Host": "evil.example"})[0] == 403
    own = gguf.url.removeprefix("http://")
    assert gguf.post("/v1/chat/completions", HI, {"Origin": f"http://{own}"})[0] == 200
    assert gguf.get("/nothing")[0] == 404 and gguf.get("/v1/chat/completions")[0] == 405


def test_pages_that_may_ask(tiny_llama: Tiny) -> None:
    with serving(f"m={tiny_llama(tokens=4096)}", "--cors", "https://chat.example") as server:
        assert server.post("/v1/chat/completions", HI, {"Origin": "https://chat.example"})[0] == 200
        assert server.post("/v1/chat/completions", HI, {"Origin": "https://other.example"})[0] == 403


def test_who_leaves_frees_the_place(gguf: Served) -> None:
    def gauge(name: str) -> float:
        return float(
            next(line for line in gguf.get("/metrics")[1].splitlines() if line.startswith(f"kitae_{name} ")).split()[1]
        )

    parts = urlsplit(gguf.url)
    for stream in (True, False):
        connections = []
        for _ in range(6):  # more than there are places for
            connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
            body = {**HI, "max_tokens": 900, "ignore_eos": True, "stream": stream}
            connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
            connections.append(connection)
        until(lambda: gauge("running") == 4 and gauge("waiting") == 2)
        for connection in connections:
            connection.close()
        until(lambda: gauge("running") == 0 and gauge("waiting") == 0, 10)
    assert gguf.chat()[0] == 200


def test_a_queue_that_is_full_says_so() -> None:
    with serving(f"m={starter_file()}", "--at-once", "1", "--context", "1024", "--waiting", "2") as server:
        statuses = []

        def ask() -> None:
            statuses.append(server.chat(max_tokens=60, ignore_eos=True)[0])

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(statuses) == {200, 429} and statuses.count(200) >= 2
        assert server.chat()[0] == 200


def test_what_takes_too_long_is_ended() -> None:
    with serving(f"m={starter_file()}", "--at-once", "1", "--context", "1024", "--max-seconds", "1") as server:
        status, reply = server.chat(max_tokens=1000, ignore_eos=True)
        assert status == 504 and reply["error"]["code"] == "timeout"
        events = server.events("/v1/chat/completions", {**HI, "max_tokens": 1000, "ignore_eos": True})
        assert events[-1]["error"]["code"] == "timeout"
        assert server.chat()[0] == 200


def test_asked_to_stop_it_finishes_what_it_has_begun() -> None:
    with serving(f"m={starter_file()}", "--at-once", "2", "--context", "1024") as server:
        found: list[tuple[int, Any]] = []
        thread = threading.Thread(target=lambda: found.append(server.chat(max_tokens=150, ignore_eos=True)))
        thread.start()
        time.sleep(0.5)
        server.process.send_signal(signal.SIGTERM)
        thread.join()
        assert found[0][0] == 200 and found[0][1]["usage"]["completion_tokens"] == 150
        assert server.process.wait(30) == 0


def test_killed_it_can_be_started_again(tmp_path: Path) -> None:
    log = tmp_path / "requests.db"
    for _ in range(2):
        with serving(f"m={starter_file()}", "--context", "512", "--log", str(log)) as server:
            assert server.chat()[0] == 200
            assert server.events("/v1/chat/completions", HI)[-1] == "[DONE]"
            until(lambda: sqlite3.connect(log).execute("select count(*) from requests").fetchone()[0] % 2 == 0)
            server.process.kill()
    rows = sqlite3.connect(log).execute("select route, model, request, reply, status from requests").fetchall()
    assert len(rows) == 4
    assert all(row[:2] == ("/v1/chat/completions", "m") and row[4] == 200 for row in rows)
    assert json.loads(rows[0][2])["messages"][0]["content"] == "Name a colour."
    assert json.loads(rows[0][3])["choices"]


def refused(*arguments: str, **environment: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "kitae.cli.main", "serve", *arguments, "--lang", "en"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env={**__import__("os").environ, **environment})
    return done.returncode, done.stderr


def test_what_can_not_be_served_is_told_before_anything_starts(tiny_llama: Tiny) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, said = refused(f"m={tiny_llama(tokens=4096)}", "--port", port)
        assert code == 2 and port in said and "--port" in said
    code, said = refused("nosuchmodel", "--port", "0")
    assert code == 2 and "nosuchmodel" in said
    code, said = refused(f"m={tiny_llama(tokens=4096)}", "--port", "0", "--context", "100000")
    assert code == 2 and "512" in said
    code, said = refused(f"m={tiny_llama(tokens=4096)}", "--port", "0", "--api-key-env", "NO_SUCH_VARIABLE")
    assert code == 2 and "NO_SUCH_VARIABLE" in said
    code, said = refused(f"m={tiny_llama(tokens=4096)}", "--port", "0", "--log", "/proc/nothing/here.db")
    assert code == 2 and "here.db" in said


def test_who_comes_while_it_stops_is_told_so() -> None:
    with serving(f"m={starter_file()}", "--at-once", "2", "--context", "1024") as server:
        thread = threading.Thread(target=lambda: server.chat(max_tokens=300, ignore_eos=True))
        thread.start()
        time.sleep(0.5)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        status, reply = server.chat()
        assert status == 503 and reply["error"]["code"] == "draining"
        assert server.get("/ready")[0] == 503 and server.get("/health")[0] == 200
        thread.join()


def test_asked_twice_it_does_not_wait() -> None:
    with serving(f"m={starter_file()}", "--context", "1024") as server:
        threading.Thread(target=lambda: server.chat(max_tokens=900, ignore_eos=True), daemon=True).start()
        time.sleep(0.5)
        server.process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(3) == 130


@pytest.mark.parametrize("arguments", [("a={m}", "a={m}"), ("{m}", "{m}"), ("a={m}", "b={m}", "--follow")])
def test_names_that_clash_are_refused(tiny_llama: Tiny, arguments: tuple[str, ...]) -> None:
    model = str(tiny_llama(tokens=4096))
    code, _ = refused(*(argument.format(m=model) for argument in arguments), "--port", "0")
    assert code == 2
