"""Many clients that stream answers from one server of the OpenAI kind at once, and what they saw.

The clients share two cores with the server they measure, so they are one asyncio loop with a parser of HTTP in C. How much of a
core they took is measured with the rest.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import httptools

PATIENCE = 300  # seconds for all the requests of a round
WORDS = re.findall(
    r"\w+",
    "river garden window letter winter market engine mountain silver music doctor bridge summer paper island kitchen "
    "morning village forest station captain mirror basket thunder ticket candle harbour lantern shadow teacher orange castle",
)


def prompts(count: int, words: int, seed: int) -> list[str]:
    """Texts of so many words, different from their first words on: no cache can know one from another."""
    chance = random.Random(f"{seed} {words}")
    return [
        f"{chance.randrange(10**6)} is the number of a story about {' '.join(chance.choices(WORDS, k=words))}."
        for _ in range(count)
    ]


@dataclass(frozen=True)
class Answer:
    began: float
    times: tuple[float, ...]  # of each piece of text
    ended: float
    read: int | None  # tokens of the prompt, as the server counts them
    written: int | None


@dataclass(frozen=True)
class Round:
    """What the clients saw while each asked its share of the prompts, one after another."""

    tokens_per_second: float  # all that was written by all the seconds, prompts being read included
    steady: float | None  # while every client was being written to; None: the server never wrote to all
    first_p50: float  # seconds to the first text
    first_p95: float
    gap_p50: float | None  # seconds between one text and the next
    gap_p95: float | None
    read: float | None  # tokens of a prompt
    tokens: int  # written
    short: int  # answers that ended before their last token; equal work has none
    counted_by: str  # usage: the server's own count; pieces: of text, where it gives none
    client_cpu: float  # share of a core


class Exchange(asyncio.Protocol):
    """One request, and the events of its answer as they come."""

    def __init__(self, request: bytes) -> None:
        self.done: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.parser = httptools.HttpResponseParser(self)
        self.request = request
        self.rest = b""
        self.times: list[float] = []
        self.usage: Mapping[str, int] = {}
        self.problem = ""
        self.began = self.now = time.perf_counter()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.now = time.perf_counter()
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, ValueError) as error:
            self.finish(f"not what was expected: {error}: {data[:200]!r}")

    def connection_lost(self, error: Exception | None) -> None:
        self.finish(self.problem or f"the connection closed: {error}")

    def on_body(self, body: bytes) -> None:
        if self.parser.get_status_code() != 200:
            self.problem += body.decode(errors="replace")
            return
        *lines, self.rest = (self.rest + body).split(b"\n")
        for line in lines:
            if line.startswith(b"data:") and not line.endswith((b"[DONE]", b"[DONE]\r")):
                self.event(json.loads(line[5:]))

    def event(self, event: dict[str, Any]) -> None:
        if "error" in event:
            self.problem = str(event["error"])
        self.usage = event.get("usage") or self.usage
        for choice in event.get("choices") or ():
            if choice.get("text") or (choice.get("delta") or {}).get("content"):
                self.times.append(self.now)

    def on_message_complete(self) -> None:
        self.finish(self.problem)

    def finish(self, problem: str) -> None:
        if self.done.done():
            return
        if problem or not self.times:
            self.done.set_exception(RuntimeError(problem or "no text in the answer"))
        else:
            read, written = self.usage.get("prompt_tokens"), self.usage.get("completion_tokens")
            self.done.set_result(Answer(self.began, tuple(self.times), self.now, read, written))
        self.transport.close()


def ask_all(port: int, path: str, bodies: Sequence[Mapping[str, object]], clients: int, max_tokens: int) -> Round:
    """Client n asks bodies n, n + clients …, each when the one before is answered."""
    import uvloop

    busy = time.process_time()
    began = time.perf_counter()
    answers = uvloop.run(asyncio.wait_for(_ask_all(port, path, bodies, clients), PATIENCE))
    seconds = max(answer.ended for answer in answers) - min(answer.began for answer in answers)
    share = (time.process_time() - busy) / (time.perf_counter() - began)
    return _seen(answers, clients, max_tokens, seconds, share)


async def _ask_all(port: int, path: str, bodies: Sequence[Mapping[str, object]], clients: int) -> list[Answer]:
    async def client(number: int) -> list[Answer]:
        return [await _ask(port, path, body) for body in bodies[number::clients]]

    return [answer for answers in await asyncio.gather(*map(client, range(clients))) for answer in answers]


async def _ask(port: int, path: str, body: Mapping[str, object]) -> Answer:
    text = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nConnection: close\r\n"
    request = f"{head}Content-Length: {len(text)}\r\n\r\n".encode() + text
    _, exchange = await asyncio.get_running_loop().create_connection(lambda: Exchange(request), "127.0.0.1", port)
    return await exchange.done


def _seen(answers: Sequence[Answer], clients: int, max_tokens: int, seconds: float, share: float) -> Round:
    told = all(answer.written is not None for answer in answers)
    written = [answer.written if answer.written is not None else len(answer.times) for answer in answers]
    pieces = sum(len(answer.times) for answer in answers)
    reads = [answer.read for answer in answers if answer.read is not None]
    firsts = [answer.times[0] - answer.began for answer in answers]
    gaps = [after - before for answer in answers for before, after in pairwise(answer.times)]
    together = _steady(answers, clients)
    return Round(
        tokens_per_second=sum(written) / seconds,
        steady=together * sum(written) / pieces if together is not None else None,
        first_p50=quantile(firsts, 0.5),
        first_p95=quantile(firsts, 0.95),
        gap_p50=quantile(gaps, 0.5) if gaps else None,
        gap_p95=quantile(gaps, 0.95) if gaps else None,
        read=statistics.mean(reads) if reads else None,
        tokens=sum(written),
        short=sum(count < max_tokens for count in written),
        counted_by="usage" if told else "pieces",
        client_cpu=share,
    )


def _steady(answers: Sequence[Answer], clients: int) -> float | None:
    """Pieces of text a second, over the times in which as many answers as there are clients lay between first and last."""
    marks = sorted((time, step) for answer in answers for time, step in ((answer.times[0], 1), (answer.times[-1], -1)))
    spans: list[tuple[float, float]] = []
    writing = 0
    for (time_, step), (after, _) in pairwise(marks):
        writing += step
        if writing == clients:
            spans.append((time_, after))
    seconds = sum(end - start for start, end in spans)
    pieces = sum(start < moment <= end for start, end in spans for answer in answers for moment in answer.times)
    return pieces / seconds if seconds > 0 else None


def quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
