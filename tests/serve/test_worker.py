"""The thread of the models: one failure ends what it must, and nothing else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kitae.chat import Message
from kitae.generate import Engine, Settings, open_engine
from kitae.models import Target, starter_file
from kitae.serve.asking import Asking
from kitae.serve.errors import ApiError
from kitae.serve.limits import Limits
from kitae.serve.service import Model, Service
from kitae.serve.worker import Lane
from tests.conftest import Tiny

GREEDY = Settings(max_tokens=6)


@pytest.fixture
def engine(tiny_llama: Tiny) -> Engine:
    return open_engine(Target(tiny_llama()))


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service(Limits(seconds=8))
    made.worker.start()
    yield made
    made.worker.stop()


async def said(
    service: Service, model: Model, settings: Settings = GREEDY, after: Callable[[], Awaitable[None]] | None = None
) -> Any:
    prompt = model.codec.prompt([Message("user", "Hi")])
    tokens: list[int] = []
    try:
        async with Asking(service, model, [prompt], settings, "") as asking:
            if after is not None:
                await after()
            async for some in asking.chunks():
                tokens += [token for _, chunk in some for token in chunk.tokens]
    except ApiError as error:
        return error.status
    return tokens


def test_a_step_that_fails_ends_only_those_that_were_in_it(engine: Engine, service: Service) -> None:
    model = Model("m", Lane(engine, 200, 2), None, "v")
    service.offer(model)

    async def both() -> None:
        good = await said(service, model)
        assert len(good) == 6
        read = model.lane.scheduler._decoder.read

        def once(parts: Any) -> Any:
            model.lane.scheduler._decoder.read = read  # type: ignore[method-assign]
            raise RuntimeError("made so")

        model.lane.scheduler._decoder.read = once  # type: ignore[method-assign]
        assert await said(service, model) == 500
        first, second = await asyncio.gather(said(service, model), said(service, model))
        assert first == second == good

    asyncio.run(both())


def test_a_model_that_can_not_be_opened_again_refuses(
    engine: Engine, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model("m", Lane(engine, 200, 2), None, "v")
    service.offer(model)
    assert service.ready

    def broken(*_: Any) -> Any:
        raise RuntimeError("made so")

    monkeypatch.setattr(model.lane.scheduler._decoder, "read", broken)
    monkeypatch.setattr(engine, "open", broken)
    assert asyncio.run(said(service, model)) == 500
    assert asyncio.run(said(service, model)) == 500
    assert service.worker.alive and not service.ready


def test_a_model_stays_open_while_somebody_knows_it(service: Service) -> None:
    path = Path(starter_file())
    first, second = (Model("m", Lane(open_engine(Target(path)), 200, 2), None, str(number)) for number in range(2))
    service.offer(first)

    async def changing() -> None:
        with service.knowing("m") as known:
            assert known is first
            service.offer(second)
            await asyncio.sleep(1.5)  # it could have been closed by now
            assert len(await said(service, known)) == 6
            assert known.lane.piece(5)
        with service.knowing("m") as known:
            assert known is second
        for _ in range(100):
            if first.lane not in service.worker._lanes:
                return
            await asyncio.sleep(0.1)
        raise AssertionError("it was never closed")

    asyncio.run(changing())


def test_who_waits_when_it_stops_is_told(engine: Engine) -> None:
    service = Service(Limits())
    model = Model("m", Lane(engine, 400, 1), None, "v")
    service.offer(model)
    service.worker.start()

    async def stop() -> None:
        await asyncio.sleep(0.3)
        await asyncio.to_thread(service.worker.stop)

    slow = model.lane.scheduler._decoder.read

    def slower(parts: Any) -> Any:
        time.sleep(0.05)
        return slow(parts)

    model.lane.scheduler._decoder.read = slower  # type: ignore[method-assign]
    assert asyncio.run(said(service, model, Settings(max_tokens=380, ignore_stops=True), stop)) == 503


def test_a_late_cancel_ends_nobody_elses_answer(engine: Engine, service: Service) -> None:
    """After a failed step numbers begin again, and somebody else may have the one that is cancelled."""
    model = Model("m", Lane(engine, 200, 2), None, "v")
    service.offer(model)

    async def mixed_up() -> Any:
        prompt = model.codec.prompt([Message("user", "Hi")])
        old = Asking(service, model, [prompt], GREEDY, "").jobs
        old[0].number = 0  # as that of the first job of a new scheduler

        async def cancel() -> None:
            service.worker.cancel(model.lane, old)

        return await said(service, model, after=cancel)

    assert len(asyncio.run(mixed_up())) == 6
