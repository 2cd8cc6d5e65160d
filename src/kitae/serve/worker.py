"""The thread that models run in. Everything else tells it what is wanted, and is told what came of it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

import numpy as np

from kitae.core.errors import KitaeError, first_line
from kitae.generate import Chunk, Engine, Scheduler, Settings, Speculation, token_bytes

if TYPE_CHECKING:
    from kitae.serve.metrics import Metrics

_IDLE = 1.0  # seconds, after which a thread that has nothing to do looks whether it should end


@dataclass(eq=False)
class Job:
    """One answer that somebody waits for. The queue of its request gets its chunks, or why there are no more of them."""

    index: int  # among the answers to a request
    prompt: Sequence[int]
    settings: Settings
    owner: str
    seed: np.random.SeedSequence
    loop: asyncio.AbstractEventLoop
    told: asyncio.Queue[tuple[Job, Chunk | KitaeError]]
    asked_at: float = field(default_factory=time.monotonic)
    first_at: float | None = None
    number: int = -1
    known: int = 0  # tokens of the prompt that need not be read


class Lane:
    """A model with those that it answers. Only the worker's thread touches it, once it has been handed over."""

    def __init__(
        self, engine: Engine, length: int, places: int, speculation: Callable[[], Speculation | None] = lambda: None
    ) -> None:
        self.engine = engine
        self.length, self.places, self._speculation = length, places, speculation
        self.scheduler = Scheduler(engine, length, places, speculation())
        self.piece = token_bytes(engine.codec.vocabulary)
        self.jobs: dict[int, Job] = {}
        self.users = 0  # requests that know it; only the event loop counts them
        self.leaving = False  # when nobody knows it any more
        self.failure: KitaeError | None = None  # after which it answers nobody

    def begin(self, job: Job) -> None:
        job.number = self.scheduler.add(job.prompt, job.settings, np.random.default_rng(job.seed), job.owner)
        self.jobs[job.number] = job

    def renew(self) -> None:
        """After a step that failed, nothing is known about what the decoder holds."""
        self.scheduler.close()
        self.scheduler = Scheduler(self.engine, self.length, self.places, self._speculation())

    def close(self) -> None:
        self.scheduler.close()
        self.engine.close()


class Worker:
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._lanes: list[Lane] = []
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="kitae-models", daemon=True)
        self.waiting = 0  # of all lanes, as of the last step; jobs on their way are counted at once

    def start(self) -> None:
        self._thread.start()

    def open(self, lane: Lane) -> None:
        self._inbox.put(lambda: self._lanes.append(lane))

    def retire(self, lane: Lane) -> None:
        """It takes no more, and is closed when all that it has begun has ended."""
        self._inbox.put(lambda: setattr(lane, "leaving", True))

    def submit(self, lane: Lane, jobs: Sequence[Job]) -> None:
        self.waiting += len(jobs)
        self._inbox.put(lambda: self._begin(lane, jobs))

    def cancel(self, lane: Lane, jobs: Sequence[Job]) -> None:
        self._inbox.put(lambda: self._cancel(lane, jobs))

    def stop(self) -> None:
        self._inbox.put(lambda: setattr(self, "_stopped", True))
        self._thread.join()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._answer()
        finally:
            stopped = KitaeError("serve-stopped")
            self._deliver([(job, stopped) for lane in self._lanes for job in lane.jobs.values()])

    def _answer(self) -> None:
        while not self._stopped:
            self._hear(wait=not any(lane.jobs and lane.scheduler.busy for lane in self._lanes))
            for lane in self._lanes:
                if lane.jobs and lane.scheduler.busy:
                    self._step(lane)
            for lane in [lane for lane in self._lanes if lane.leaving and not lane.jobs and not lane.users]:
                self._lanes.remove(lane)
                lane.close()
        for lane in self._lanes:
            lane.close()

    def _hear(self, wait: bool) -> None:
        try:
            if wait:
                self._inbox.get(timeout=_IDLE)()
            while True:
                self._inbox.get_nowait()()
        except Empty:
            pass

    def _begin(self, lane: Lane, jobs: Sequence[Job]) -> None:
        for job in jobs:
            try:
                if lane.failure is not None:
                    raise lane.failure
                lane.begin(job)
            except KitaeError as error:
                self._deliver([(job, error)])
        self._count()

    def _cancel(self, lane: Lane, jobs: Sequence[Job]) -> None:
        for job in jobs:
            if lane.jobs.get(job.number) is job:  # after a failed step numbers begin again
                del lane.jobs[job.number]
                lane.scheduler.drop(job.number)
        self._count()

    def _step(self, lane: Lane) -> None:
        try:
            chunks = lane.scheduler.step()
        except Exception as error:  # those who wait have to be told, and the next ones answered
            failed = error if isinstance(error, KitaeError) else KitaeError("unexpected", why=first_line(error))
            jobs, lane.jobs = list(lane.jobs.values()), {}
            self._deliver([(job, failed) for job in jobs])
            try:
                lane.renew()
            except Exception as again:
                lane.failure = KitaeError("unexpected", why=first_line(again))
            self._count()
            return
        now = time.monotonic()
        told: list[tuple[Job, Chunk | KitaeError]] = []
        for chunk in chunks:
            job = lane.jobs[chunk.row]
            if job.first_at is None:
                job.first_at, job.known = now, chunk.known
                self._metrics.began(len(job.prompt), chunk.known, now - job.asked_at)
            told.append((job, chunk.error or chunk))
            if chunk.finish is not None:
                del lane.jobs[chunk.row]
                self._metrics.ended(chunk.finish, now - job.asked_at)
        self._metrics.stepped(len(chunks))
        self._deliver(told)
        self._count()

    def _deliver(self, told: Sequence[tuple[Job, Chunk | KitaeError]]) -> None:
        """In one go for each event loop: waking it is what costs."""
        by_loop: defaultdict[asyncio.AbstractEventLoop, list[tuple[Job, Chunk | KitaeError]]] = defaultdict(list)
        for job, chunk in told:
            by_loop[job.loop].append((job, chunk))
        for loop, some in by_loop.items():
            if not loop.is_closed():
                loop.call_soon_threadsafe(_put, some)

    def _count(self) -> None:
        self.waiting = sum(lane.scheduler.waiting for lane in self._lanes)
        self._metrics.loaded(sum(lane.scheduler.running for lane in self._lanes), self.waiting)


def _put(told: Sequence[tuple[Job, Chunk | KitaeError]]) -> None:
    for job, chunk in told:
        job.told.put_nowait((job, chunk))
