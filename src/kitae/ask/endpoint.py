"""An OpenAI-compatible endpoint: asked by several threads, patient with what passes, plain about what doesn't."""

from __future__ import annotations

import http.client
import json
import random
import re
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import Message as Headers
from queue import Queue
from typing import IO, Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from kitae.ask.client import Numbered
from kitae.ask.replies import Later, NeverThis, names_in, objects_in, reply_in, said_in
from kitae.ask.request import Reply, Request
from kitae.core import paths
from kitae.core.errors import InputError, KitaeError, first_line
from kitae.core.files import JsonDict

T = TypeVar("T")

_PASSING = {408, 409, 425, 429, 500, 502, 503, 504, 529}
_WRONG = {401, 402, 403, 404, 405}  # with which every request would fare alike
_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds; each is twice the one before
_LARGEST = 16 << 20  # bytes of a reply
_SHOWN = 300  # characters of what an endpoint says is wrong
_ROUTE = "/chat/completions"
_NOT_TAKEN = re.compile(
    r"unsupported|unknown|unrecogni[sz]ed|unexpected|extra|not (?:permitted|allowed|supported)|instead", re.I
)


@dataclass
class Endpoint:
    url: str
    name: str
    key: str | None = None
    at_once: int = 4
    per_minute: float | None = None
    timeout: float = 120.0  # seconds for one reply
    tries: int = 5
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _next: float = 0.0  # when the next request may begin
    _unwanted: set[str] = field(default_factory=set)  # fields that this endpoint does not take
    _heard: bool = False

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
            raise InputError("endpoint-url", where=parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl())
        self.key = (self.key or "").strip() or None
        if self.key and not (self.key.isascii() and self.key.isprintable()):
            raise InputError("endpoint-key", where=self.url)
        if paths.offline():
            raise InputError("offline", where=self.url)
        self._routes = parts._replace(path=parts.path.rstrip("/").removesuffix(_ROUTE), fragment="")
        self._address = self._at(_ROUTE)
        near = parts.hostname in ("localhost", "127.0.0.1", "::1")  # which no proxy knows
        proxies = [urllib.request.ProxyHandler({})] if near else []
        self._opener = urllib.request.build_opener(_NoRedirect, *proxies)

    def answer(self, requests: Iterator[Numbered | None]) -> Iterator[list[tuple[int, Reply]]]:
        done: Queue[tuple[int, Reply | KitaeError]] = Queue()
        running = 0
        failure: KitaeError | None = None
        left = True
        while left or running:
            while left and running < self.at_once and failure is None:
                try:
                    numbered = next(requests)
                except StopIteration:
                    left = False
                    break
                if numbered is None:
                    break
                threading.Thread(target=self._work, args=(*numbered, done), daemon=True).start()
                running += 1
            if not running:
                break
            number, reply = done.get()
            running -= 1
            if isinstance(reply, KitaeError):
                failure, left = failure or reply, False  # those under way are paid for, so they are waited for
            else:
                yield [(number, reply)]
        if failure is not None:
            raise failure

    def close(self) -> None:
        pass

    def models(self) -> list[str]:
        """The names of what it serves; none if it doesn't say."""

        def failed(why: str, passing: bool) -> list[str]:
            if passing:
                raise KitaeError("endpoint-unreachable", where=self._address, why=why, tries=1)
            return []

        return self._patiently(lambda: names_in(self._said_at("/models")), failed)

    def other(self, route: str, value: JsonDict) -> JsonDict | None:
        """What a route says that only some servers have, beside those under /v1; None if this one hasn't."""
        near = self._routes.path.removesuffix("/v1")
        address = urlunsplit(self._routes._replace(path=near + route))
        try:
            return self._patiently(lambda: objects_in(self._said_at(address, value)), lambda why, passing: None)
        except KitaeError:  # it asks for a key of another kind, or sends us elsewhere
            return None

    @property
    def left_out(self) -> set[str]:
        """The fields of requests that it was seen not to take."""
        return set(self._unwanted)

    def _at(self, route: str) -> str:
        return urlunsplit(self._routes._replace(path=self._routes.path + route))

    def _work(self, number: int, request: Request, done: Queue[tuple[int, Reply | KitaeError]]) -> None:
        try:
            done.put((number, self._patiently(lambda: self._once(request), _failed)))
        except KitaeError as error:
            done.put((number, error))
        except Exception as error:  # a thread that dies in silence would be waited for until the end of days
            why = self._hidden(f"{type(error).__name__}: {first_line(error)}")
            done.put((number, KitaeError("endpoint-failed", where=self._address, why=why)))

    def _patiently(self, once: Callable[[], T], failed: Callable[[str, bool], T]) -> T:
        """What may have been paid for is not asked again here, but by whoever keeps the budget. `failed`: what there is instead
        of an answer, by why there is none, and whether that may pass."""
        why, unwanted = "", 0
        attempt = 0
        while attempt < self.tries:
            self._wait_turn()
            try:
                found = once()
                self._heard = True
                return found
            except NeverThis as error:
                return failed(self._hidden(str(error)), False)
            except Later as error:
                why = self._hidden(str(error))
                if error.after == 0.0 and unwanted < len(_FIELDS):
                    unwanted += 1
                    continue
                attempt += 1
                pause = error.after if error.after is not None else _PAUSE * 2.0**attempt / 2 * random.uniform(0.5, 1.0)
                self._postpone(min(pause, _LONGEST_PAUSE))
                if error.paid:
                    return failed(why, True)
        if not self._heard:
            raise KitaeError("endpoint-unreachable", where=self._address, why=why, tries=self.tries)
        return failed(why, True)

    def _wait_turn(self) -> None:
        while True:
            with self._lock:
                now = time.monotonic()
                if now >= self._next:
                    self._next = max(self._next, now) + (60.0 / self.per_minute if self.per_minute else 0.0)
                    return
                pause = self._next - now
            time.sleep(pause)

    def _postpone(self, seconds: float) -> None:
        """All wait: who is told to slow down with one request is told so with the others too."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)

    def _once(self, request: Request) -> Reply:
        fields = self._fields(request)
        status, headers, body = self._send(self._address, fields)
        if status == 200:
            return reply_in(body)
        said, named = said_in(body)
        self._judge(status, headers, said)
        for name in _FIELDS:  # each is left out for good only where it was given, and is what is wrong
            spoken_of = name in said or (name == "max_tokens" and "max_completion_tokens" in said)
            if status in (400, 422) and name in fields and (named == name or (spoken_of and _NOT_TAKEN.search(said))):
                self._unwanted.add(name)
                raise Later(f"{status}: {said}", 0.0)
        raise NeverThis(f"{status}: {said}")

    def _said_at(self, address: str, value: JsonDict | None = None) -> bytes:
        """What another address says, of which it is no fault not to be there."""
        status, headers, body = self._send(address if "://" in address else self._at(address), value)
        if status == 200:
            return body
        said, _ = said_in(body)
        if status not in (404, 405):
            self._judge(status, headers, said)
        raise NeverThis(f"{status}: {said}")

    def _judge(self, status: int, headers: Headers, said: str) -> None:
        """What every request would fare alike with, and what passes."""
        if 300 <= status < 400:
            raise InputError("endpoint-moved", where=self._address, why=f"{status}: {headers.get('Location', '')}")
        if status in _WRONG:
            raise InputError("endpoint-refused", where=self._address, why=self._hidden(f"{status}: {said}"), model=self.name)
        if status in _PASSING:
            raise Later(f"{status}: {said}", _seconds(headers.get("Retry-After")))

    def _fields(self, request: Request) -> dict[str, Any]:
        value: dict[str, Any] = {
            "model": self.name,
            "messages": [m.as_dict() for m in request.messages],
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "seed": request.seed,
        }
        if request.stop:
            value["stop"] = list(request.stop)
        if "max_tokens" in self._unwanted:
            value["max_completion_tokens"] = request.max_tokens
        return {name: part for name, part in value.items() if name not in self._unwanted}

    def _send(self, address: str, value: JsonDict | None) -> tuple[int, Headers, bytes]:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        asked = urllib.request.Request(address, None if value is None else json.dumps(value).encode(), headers)
        deadline = time.monotonic() + self.timeout
        paid = True
        try:
            try:
                with self._opener.open(asked, timeout=self.timeout) as response:
                    return int(response.status), response.headers, _body(response, deadline)
            except urllib.error.HTTPError as error:
                paid = False
                with error:
                    return error.code, error.headers, _body(error, deadline)
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", error)
            paid = paid and not isinstance(reason, (ConnectionRefusedError, socket.gaierror))
            raise Later(f"{type(error).__name__}: {first_line(error)}", paid=paid) from error

    def _hidden(self, text: str) -> str:
        """Without the key, which some endpoints repeat."""
        return " ".join((text.replace(self.key, "***") if self.key else text).split())[:_SHOWN]


_FIELDS = ("max_tokens", "seed", "temperature", "stop")  # that some endpoints do not take


def _failed(why: str, passing: bool) -> Reply:
    return Reply("", failed=why, passing=passing)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A key is for whom it was given."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _body(response: IO[bytes], deadline: float) -> bytes:
    """An endpoint that sends a byte now and then must not be listened to for ever."""
    found = bytearray()
    read = getattr(response, "read1", response.read)
    while piece := read(1 << 16):
        found += piece
        if time.monotonic() > deadline:
            raise TimeoutError("the reply did not end in time")
        if len(found) > _LARGEST:
            raise ValueError(f"a reply of more than {_LARGEST} bytes")
    return bytes(found)


def _seconds(said: str | None) -> float | None:
    try:
        return max(0.01, float(said)) if said is not None else None
    except ValueError:  # a date, of a clock that may not be ours
        return None
