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
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import Message as Headers
from queue import Queue
from typing import IO, Any
from urllib.parse import urlsplit, urlunsplit

from kitae.ask.client import Numbered
from kitae.ask.request import Reply, Request, without_thought
from kitae.core import paths
from kitae.core.errors import InputError, KitaeError, first_line

_PASSING = {408, 409, 425, 429, 500, 502, 503, 504, 529}
_WRONG = {401, 402, 403, 404, 405}  # with which every request would fare alike
_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds; each is twice the one before
_LARGEST = 16 << 20  # bytes of a reply
_SHOWN = 300  # characters of what an endpoint says is wrong
_ROUTE = "/chat/completions"
_NOT_TAKEN = re.compile(
    r"unsupported|unknown|unrecogni[sz]ed|unexpected|extra|not (?:permitted|allowed|supported)|instead", re.I
)


class _Later(Exception):
    """It may go better the next time; perhaps the endpoint says when. `paid`: it may have cost something all the same."""

    def __init__(self, why: str, after: float | None = None, paid: bool = False) -> None:
        super().__init__(why)
        self.after, self.paid = after, paid


class _NeverThis(Exception):
    """This request won't be answered; others may."""


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
        path = parts.path.rstrip("/").removesuffix(_ROUTE) + _ROUTE
        self._address = urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))
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

    def _work(self, number: int, request: Request, done: Queue[tuple[int, Reply | KitaeError]]) -> None:
        try:
            done.put((number, self._patiently(request)))
        except KitaeError as error:
            done.put((number, error))
        except Exception as error:  # a thread that dies in silence would be waited for until the end of days
            why = self._hidden(f"{type(error).__name__}: {first_line(error)}")
            done.put((number, KitaeError("endpoint-failed", where=self._address, why=why)))

    def _patiently(self, request: Request) -> Reply:
        """What may have been paid for is not asked again here, but by whoever keeps the budget."""
        why, unwanted = "", 0
        attempt = 0
        while attempt < self.tries:
            self._wait_turn()
            try:
                reply = self._once(request)
                self._heard = True
                return reply
            except _NeverThis as error:
                return Reply("", failed=self._hidden(str(error)))
            except _Later as error:
                why = self._hidden(str(error))
                if error.after == 0.0 and unwanted < len(_FIELDS):
                    unwanted += 1
                    continue
                attempt += 1
                pause = error.after if error.after is not None else _PAUSE * 2.0**attempt / 2 * random.uniform(0.5, 1.0)
                self._postpone(min(pause, _LONGEST_PAUSE))
                if error.paid:
                    return Reply("", failed=why, passing=True)
        if not self._heard:
            raise KitaeError("endpoint-unreachable", where=self._address, why=why, tries=self.tries)
        return Reply("", failed=why, passing=True)

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
        status, headers, body = self._post(fields)
        if status == 200:
            return _reply(body)
        said, named = _said(body)
        if 300 <= status < 400:
            raise InputError("endpoint-moved", where=self._address, why=f"{status}: {headers.get('Location', '')}")
        if status in _WRONG:
            raise InputError("endpoint-refused", where=self._address, why=self._hidden(f"{status}: {said}"), model=self.name)
        if status in _PASSING:
            raise _Later(f"{status}: {said}", _seconds(headers.get("Retry-After")))
        for name in _FIELDS:  # each is left out for good only where it was given, and is what is wrong
            spoken_of = name in said or (name == "max_tokens" and "max_completion_tokens" in said)
            if status in (400, 422) and name in fields and (named == name or (spoken_of and _NOT_TAKEN.search(said))):
                self._unwanted.add(name)
                raise _Later(f"{status}: {said}", 0.0)
        raise _NeverThis(f"{status}: {said}")

    def _fields(self, request: Request) -> dict[str, Any]:
        value: dict[str, Any] = {
            "model": self.name,
            "messages": [m.as_dict() for m in request.messages],
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "seed": request.seed,
        }
        if "max_tokens" in self._unwanted:
            value["max_completion_tokens"] = request.max_tokens
        return {name: part for name, part in value.items() if name not in self._unwanted}

    def _post(self, value: dict[str, Any]) -> tuple[int, Headers, bytes]:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        asked = urllib.request.Request(self._address, json.dumps(value).encode(), headers)
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
            raise _Later(f"{type(error).__name__}: {first_line(error)}", paid=paid) from error

    def _hidden(self, text: str) -> str:
        """Without the key, which some endpoints repeat."""
        return " ".join((text.replace(self.key, "***") if self.key else text).split())[:_SHOWN]


_FIELDS = ("max_tokens", "seed", "temperature")  # that some endpoints do not take


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


def _said(body: bytes) -> tuple[str, str | None]:
    """What an endpoint says is wrong, and of which field."""
    text = body.decode("utf-8", "replace")
    try:
        error = json.loads(text)["error"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return text, None
    if not isinstance(error, dict):
        return str(error), None
    return str(error.get("message", error)), error.get("param") if isinstance(error.get("param"), str) else None


def _reply(body: bytes) -> Reply:
    try:
        value = json.loads(body)
        if isinstance(value, dict) and value.get("error"):  # some say so under a status of success
            raise _NeverThis(_said(body)[0])
        choice = value["choices"][0]
        message = choice["message"]
        content = message.get("content")
        if isinstance(content, list):  # in parts
            content = "".join(part.get("text", "") for part in content if isinstance(part, dict))
        if content is not None and not isinstance(content, str):
            raise TypeError
        usage = value.get("usage") or {}
        asked, said = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
        finish = str(choice.get("finish_reason") or "stop")
        if not content and finish == "stop":  # it did something else instead
            finish = next(
                (name for name in ("tool_calls", "refusal", "reasoning_content", "reasoning") if message.get(name)), finish
            )
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise _Later(f"no reply of the usual kind: {body[:120].decode('utf-8', 'replace')}", paid=True) from error
    text = (content or "").encode("utf-8", "replace").decode()  # JSON can spell half a character
    return Reply(without_thought(text), finish, asked, said)


def _seconds(said: str | None) -> float | None:
    try:
        return max(0.01, float(said)) if said is not None else None
    except ValueError:  # a date, of a clock that may not be ours
        return None
