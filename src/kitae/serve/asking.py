"""A request for answers, from its prompts to their end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from kitae.core.errors import KitaeError
from kitae.core.i18n import t
from kitae.generate import Chunk, Settings
from kitae.serve.errors import ApiError, api_error
from kitae.serve.worker import Job

if TYPE_CHECKING:
    from kitae.serve.service import Model, Service

Found = TypeVar("Found")


class Asking:
    """`async with` it: whoever leaves early cancels what has not been written yet."""

    def __init__(
        self, service: Service, model: Model, prompts: Sequence[Sequence[int]], settings: Settings, owner: str
    ) -> None:
        """`settings.n` answers to each prompt."""
        self._service, self._model = service, model
        self._told: asyncio.Queue[tuple[Job, Chunk | KitaeError]] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        many = [prompt for prompt in prompts for _ in range(settings.best_of or settings.n)]
        seeds = np.random.SeedSequence(settings.seed).spawn(len(many))
        self.jobs = [
            Job(index, prompt, settings, owner, seed, loop, self._told)
            for index, (prompt, seed) in enumerate(zip(many, seeds, strict=True))
        ]
        self._left = {job.index for job in self.jobs}
        self._until = time.monotonic() + service.limits.seconds

    async def __aenter__(self) -> Asking:
        self._service.admit(len(self.jobs))
        self._service.worker.submit(self._model.lane, self.jobs)
        return self

    async def __aexit__(self, *_: object) -> None:
        left = [job for job in self.jobs if job.index in self._left]
        if left:
            self._service.worker.cancel(self._model.lane, left)

    async def chunks(self) -> AsyncIterator[list[tuple[Job, Chunk]]]:
        """Whatever has come since the last time."""
        while self._left:
            try:
                async with asyncio.timeout_at(asyncio.get_running_loop().time() + self._until - time.monotonic()):
                    told = [await self._told.get()]
            except TimeoutError:
                limit = self._service.limits.seconds
                raise ApiError(504, t("serve.too-slow", seconds=round(limit)), "timeout") from None
            while not self._told.empty():
                told.append(self._told.get_nowait())
            some = []
            for job, chunk in told:
                if isinstance(chunk, KitaeError) or chunk.finish is not None:
                    self._left.discard(job.index)
                if isinstance(chunk, KitaeError):
                    raise api_error(chunk)
                some.append((job, chunk))
            yield some


async def unless_gone(request: Request, work: Awaitable[Found]) -> Found:
    """Ends the work when the client is no longer there."""
    doing = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({doing, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise ApiError(499, "the client went away")
        return doing.result()
    finally:
        await _ended(doing, gone)


class EventStream(Response):
    """Server-sent events, as long as somebody listens."""

    media_type = "text/event-stream"

    def __init__(self, request: Request, events: AsyncIterator[bytes], at_end: Callable[[], None]) -> None:
        super().__init__(None, headers={"cache-control": "no-cache", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._request, self._events, self._at_end = request, events, at_end

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def write() -> None:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async for data in self._events:
                await send({"type": "http.response.body", "body": data, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        writing, gone = asyncio.ensure_future(write()), asyncio.ensure_future(_gone(self._request))
        try:
            await asyncio.wait({writing, gone}, return_when=asyncio.FIRST_COMPLETED)
            if writing.done():
                writing.result()
        finally:
            await _ended(writing, gone)
            await self._events.aclose()  # type: ignore[attr-defined]
            self._at_end()


async def _gone(request: Request) -> None:
    """The body has been read; what comes now is that the client has left."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _ended(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
