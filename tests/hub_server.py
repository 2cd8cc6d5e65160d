"""A hub on loopback: the few addresses by which its library finds data sets and reads their files, whole or in ranges."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

REVISION = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    def __init__(self, sets: Mapping[str, Mapping[str, bytes]]) -> None:
        self.sent = 0  # bytes of files
        self.asked: list[str] = []
        self.instead: bytes | None = None  # of every file, as a proxy does that wants to be signed in to
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _file(self) -> bytes | None:
                for repo, files in sets.items():
                    for name, content in files.items():
                        if self.path == f"/datasets/{repo}/resolve/{REVISION}/{name}":
                            return content
                return None

            def _send(self, status: int, body: bytes, headers: Mapping[str, str], with_body: bool = True) -> None:
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                if with_body:
                    self.wfile.write(body)

            def do_HEAD(self) -> None:
                content = self._file()
                outer.asked.append(f"HEAD {self.path}")
                if content is None:
                    self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
                    return
                told = {"ETag": f'"{len(content):040x}"', "X-Repo-Commit": REVISION, "Accept-Ranges": "bytes"}
                self._send(200, content, told, with_body=False)

            def do_GET(self) -> None:
                outer.asked.append(f"GET {self.path}")
                for repo, files in sets.items():
                    if self.path.partition("?")[0] in (f"/api/datasets/{repo}", f"/api/datasets/{repo}/revision/{REVISION}"):
                        value = {"id": repo, "sha": REVISION, "siblings": [{"rfilename": name} for name in files]}
                        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})
                        return
                content = self._file()
                if content is None:
                    self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
                    return
                if outer.instead is not None:
                    self._send(200, outer.instead, {"Content-Type": "text/html"})
                    return
                wanted = self.headers.get("Range", "")
                if wanted:
                    start, _, end = wanted.removeprefix("bytes=").partition("-")
                    part = content[int(start) : int(end) + 1 if end else len(content)]
                    outer.sent += len(part)
                    told = {"Content-Range": f"bytes {start}-{int(start) + len(part) - 1}/{len(content)}"}
                    self._send(206, part, told)
                    return
                outer.sent += len(content)
                self._send(200, content, {"ETag": f'"{len(content):040x}"', "X-Repo-Commit": REVISION})

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@contextmanager
def hub(sets: Mapping[str, Mapping[str, bytes]]) -> Iterator[Hub]:
    made = Hub(sets)
    threading.Thread(target=made.server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield made
    finally:
        made.server.shutdown()
        made.server.server_close()
