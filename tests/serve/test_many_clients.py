"""Two hundred clients at once, most of them badly behaved. What was accepted is answered or ended, nothing sticks or grows.

KITAE_LOAD_SECONDS=600 makes it the long run that docs/benchmarks.md tells about.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections import Counter
from urllib.parse import urlsplit

import psutil
import pytest

from kitae.models import starter_file

from .conftest import Served, serving, until

_SECONDS = int(os.environ.get("KITAE_LOAD_SECONDS", "25"))
pytestmark = [pytest.mark.slow(_SECONDS + 20), pytest.mark.timeout(_SECONDS + 300)]
_CLIENTS = 200
_GOOD = {200, 429}


class Clients:
    def __init__(self, server: Served) -> None:
        parts = urlsplit(server.url)
        self.host, self.port = parts.hostname or "", parts.port or 0
        self.ends: Counter[str] = Counter()
        self.until = time.monotonic() + _SECONDS

    async def run(self) -> None:
        await asyncio.gather(*(self.client(random.Random(number)) for number in range(_CLIENTS)))

    async def client(self, chance: random.Random) -> None:
        ways = [self.patient, self.patient, self.streamed, self.streamed, self.leaves, self.slow, self.oversized, self.nonsense]
        while time.monotonic() < self.until:
            way = chance.choice(ways)
            try:
                async with asyncio.timeout(_SECONDS + 120):
                    self.ends[f"{way.__name__} {await way(chance)}"] += 1
            except (ConnectionError, asyncio.IncompleteReadError) as error:
                self.ends[f"{way.__name__} {type(error).__name__}"] += 1

    async def ask(self, body: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(self.host, self.port)
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
        )
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        return reader, writer

    def body(self, chance: random.Random, **more: object) -> bytes:
        text = " ".join(chance.choices(["river", "stone", "paper", "moon", "seven"], k=chance.randrange(3, 60)))
        asked = {"model": "m", "messages": [{"role": "user", "content": text}], "max_tokens": chance.randrange(1, 24), **more}
        return json.dumps(asked).encode()

    async def patient(self, chance: random.Random) -> object:
        reader, writer = await self.ask(self.body(chance, seed=1))
        status, rest = await self.whole(reader)
        writer.close()
        return status if status != 200 or json.loads(rest)["choices"][0]["finish_reason"] else "no end"

    async def streamed(self, chance: random.Random) -> object:
        reader, writer = await self.ask(self.body(chance, stream=True))
        status, rest = await self.whole(reader)
        writer.close()
        return status if status != 200 or b"[DONE]" in rest else "no end"

    async def leaves(self, chance: random.Random) -> object:
        _, writer = await self.ask(self.body(chance, stream=chance.random() < 0.5, max_tokens=200, ignore_eos=True))
        await asyncio.sleep(chance.random() * 2)
        writer.close()
        return "left"

    async def slow(self, chance: random.Random) -> object:
        reader, writer = await self.ask(self.body(chance, stream=True))
        found = b""
        while piece := await reader.read(64):
            found += piece
            await asyncio.sleep(0.05)
        writer.close()
        return found.split()[1].decode() if b"[DONE]" in found or b" 429" in found[:20] else "no end"

    async def oversized(self, chance: random.Random) -> object:
        reader, writer = await self.ask(b"x" * (3 << 20))
        status, _ = await self.whole(reader)
        writer.close()
        await asyncio.sleep(chance.random())
        return status

    async def nonsense(self, chance: random.Random) -> object:
        reader, writer = await self.ask(chance.choice([b"{", b"[]", b'{"model": "x", "messages": []}', chance.randbytes(300)]))
        status, _ = await self.whole(reader)
        writer.close()
        await asyncio.sleep(chance.random())
        return status

    async def whole(self, reader: asyncio.StreamReader) -> tuple[int, bytes]:
        found = await reader.read()
        while piece := await reader.read():
            found += piece
        if not found:
            raise ConnectionError("nothing")
        return int(found.split()[1]), found.partition(b"\r\n\r\n")[2]


def test_two_hundred_clients() -> None:
    with serving(
        f"m={starter_file()}", "--at-once", "8", "--context", "512", "--max-body", str(1 << 20), "--waiting", "64"
    ) as server:
        process = psutil.Process(server.process.pid)
        clients = Clients(server)
        memory: list[float] = []

        async def both() -> None:
            async def watch() -> None:
                while time.monotonic() < clients.until:
                    await asyncio.sleep(_SECONDS / 20)
                    memory.append(process.memory_info().rss / 2**20)

            await asyncio.gather(clients.run(), watch())

        asyncio.run(both())

        def gauge(name: str) -> float:
            lines = server.get("/metrics")[1].splitlines()
            return float(next(line for line in lines if line.startswith(f"kitae_{name} ")).split()[1])

        until(lambda: gauge("running") == 0 and gauge("waiting") == 0, 60)
        print(dict(clients.ends), [round(value) for value in memory], flush=True)
        allowed = {"patient", "streamed", "slow"}
        for end, count in clients.ends.items():
            way, _, what = end.partition(" ")
            assert way not in allowed or what in ("200", "429"), (end, count)
            assert way != "nonsense" or what == "400", (end, count)
            assert way != "oversized" or what == "413", (end, count)
        assert clients.ends["patient 200"] and clients.ends["streamed 200"] and clients.ends["slow 200"]
        beginnings = 300 if _SECONDS < 300 else 20  # what ended sequences had read is kept, up to 256 MB
        assert memory[-1] < 1.1 * memory[len(memory) // 2] + beginnings, memory
        assert process.num_fds() < 60
        server.process.kill()
    with serving(f"m={starter_file()}", "--context", "512") as server:
        assert server.chat()[0] == 200
