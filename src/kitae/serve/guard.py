"""What every request passes before anybody reads it: how large it is, how long it takes to come, whose it is, from where."""

from __future__ import annotations

import asyncio
import json
import time
import traceback
from collections.abc import Sequence
from typing import Any

from kitae.core.console import console
from kitae.core.errors import first_line
from kitae.core.i18n import t
from kitae.serve.errors import ApiError
from kitae.serve.keys import Keys
from kitae.serve.service import Service

_OPEN = ("/health", "/ready")  # for those that watch over servers and have no key
_HEARD = 16  # times what is allowed is heard out, and forgotten: who is cut off in the middle doesn't hear why
_HERE = ("localhost", "127.0.0.1", "[::1]")


class Guard:
    """Around the whole application. `local`: the address of this machine that it listens to alone, so that other names for it
    are a trick."""

    def __init__(self, app: Any, service: Service, keys: Keys, origins: Sequence[str], local: str | None) -> None:
        self._app, self._service, self._keys = app, service, keys
        self._origins, self._names = set(origins), None if local is None else {*_HERE, local}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status, begun = time.monotonic(), 500, False

        async def watched(message: Any) -> None:
            nonlocal status, begun
            if message["type"] == "http.response.start":
                status, begun = message["status"], True
            await send(message)

        try:
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            scope["state"]["owner"], scope["state"]["began"] = self._allowed(scope, headers), began
            body = await self._body(headers, receive) if scope["method"] in ("POST", "PUT", "PATCH") else b""
            given = False

            async def whole() -> Any:
                nonlocal given
                if not given:
                    given = True
                    return {"type": "http.request", "body": body, "more_body": False}
                return await receive()

            await self._app(scope, whole, watched)
        except ApiError as error:
            await _refuse(error, watched)
        except _Gone:
            status = 499
        except Exception as error:  # who asked is told that it failed, and who runs the server why
            if console.debug:
                traceback.print_exc()
            console.error(t("serve.unexpected", route=_route(scope), why=f"{type(error).__name__}: {first_line(error)}"))
            if not begun:
                status = 500
                await _refuse(ApiError(500, t("serve.failed"), "unexpected"), watched)
        finally:
            self._service.metrics.replied(_route(scope), status)

    def _allowed(self, scope: Any, headers: dict[str, str]) -> str:
        host = headers.get("host", "")
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if self._names is not None and name.lower() not in self._names:
            raise ApiError(403, t("serve.host", host=host), "host")
        origin = headers.get("origin")
        own = origin is not None and origin.partition("://")[2] == host
        if origin is not None and not own and not self._origins & {origin, "*"}:  # a page of somebody else's, in a browser
            raise ApiError(403, t("serve.origin", origin=origin), "origin")
        if scope["path"] in _OPEN or scope["method"] == "OPTIONS":
            return ""
        owner = self._keys.owner(headers.get("authorization"))
        if owner is None:
            raise ApiError(401, t("serve.key"), "invalid_api_key")
        return owner

    async def _body(self, headers: dict[str, str], receive: Any) -> bytes:
        limit = self._service.limits.body_bytes
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > _HEARD * limit:
            raise ApiError(413, t("serve.body", limit=limit), "body_too_large")
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._service.limits.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _Gone
                    part = message.get("body", b"")
                    size += len(part)
                    last = not message.get("more_body")
                    if size > limit:
                        parts = []
                        if last or size > _HEARD * limit:
                            raise ApiError(413, t("serve.body", limit=limit), "body_too_large")
                        continue
                    parts.append(part)
                    if last:
                        return b"".join(parts)
        except TimeoutError:
            raise ApiError(408, t("serve.body-slow"), "timeout") from None


class _Gone(Exception):
    """The client left before it had said all."""


async def _refuse(error: ApiError, send: Any) -> None:
    data = json.dumps(error.body, ensure_ascii=False).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if error.status in (408, 413):
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": data})


def _route(scope: Any) -> str:
    """As it is declared: paths that nobody serves would fill the metrics."""
    route = scope.get("route")
    return getattr(route, "path", "other")
