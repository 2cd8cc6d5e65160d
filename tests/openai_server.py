"""A real HTTP server on loopback that speaks as an OpenAI-compatible endpoint: well, badly, slowly, or not at all."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Asked = dict[str, Any]


@dataclass
class Answer:
    """What is sent back; None as text: nothing, and the connection closes."""

    text: str | None = ""
    status: int = 200
    finish: str = "stop"
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None  # instead of a reply
    pause: float = 0.0  # before it
    drip: float = 0.0  # between its bytes
    usage: bool = True


Says = Callable[[Asked, int], Answer]  # the body of a request, and how many came before it


class Endpoint:
    def __init__(self, says: Says) -> None:
        self.says = says
        self.models: list[str] | None = None  # what it lists, if it does
        self.asked: list[Asked] = []
        self.keys: list[str | None] = []
        self.most = 0  # under way at once
        self._under_way = 0
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                listed = json.dumps({"data": [{"id": name} for name in outer.models or []]}).encode()
                self._answer(Answer("no such route", 404) if outer.models is None else Answer(raw=listed))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with outer._lock:
                    number = len(outer.asked)
                    outer.asked.append({**body, "path": self.path, "at": time.monotonic()})
                    outer.keys.append(self.headers.get("Authorization"))
                    outer._under_way += 1
                    outer.most = max(outer.most, outer._under_way)
                try:
                    answer = outer.says(body, number)
                    time.sleep(answer.pause)
                finally:
                    with outer._lock:  # before whoever asked has the answer, and may ask again
                        outer._under_way -= 1
                self._answer(answer)

            def _answer(self, answer: Answer) -> None:
                if answer.text is None:
                    self.close_connection = True
                    self.connection.close()
                    return
                payload = answer.raw if answer.raw is not None else _reply(answer)
                self.send_response(answer.status)
                for name, value in {"Content-Length": str(len(payload)), **answer.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                try:
                    if answer.drip:
                        for byte in payload:
                            self.wfile.write(bytes([byte]))
                            self.wfile.flush()
                            time.sleep(answer.drip)
                    else:
                        self.wfile.write(payload)
                except OSError:
                    pass  # nobody listens any more

            def log_message(self, *_: object) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                pass

        self.server = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def count(self, part: str) -> int:
        return sum(part in asked["messages"][-1]["content"] for asked in self.asked)


def _reply(answer: Answer) -> bytes:
    if answer.status != 200:
        return json.dumps({"error": {"message": answer.text}}).encode()
    value: dict[str, Any] = {
        "choices": [{"message": {"role": "assistant", "content": answer.text}, "finish_reason": answer.finish}]
    }
    if answer.usage:
        value["usage"] = {"prompt_tokens": 50, "completion_tokens": len((answer.text or "").split())}
    return json.dumps(value).encode()


@contextmanager
def endpoint(says: Says) -> Iterator[Endpoint]:
    made = Endpoint(says)
    thread = threading.Thread(target=made.server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.server.shutdown()
        made.server.server_close()
