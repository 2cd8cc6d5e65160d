"""The models that are served, and what is allowed at once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from kitae.chat import ChatCodec, Message, fitting
from kitae.core.i18n import t
from kitae.generate import has_thoughts, room_for_prompt
from kitae.serve.errors import ApiError
from kitae.serve.limits import Limits
from kitae.serve.metrics import Metrics
from kitae.serve.worker import Lane, Worker


@dataclass(eq=False)
class Model:
    """Under one name. `system`: what it was trained to be told where nobody tells it anything else."""

    name: str
    lane: Lane
    system: str | None
    version: str  # a run's id, else something of the file: it changes when the model does
    run: bool = False
    since: int = field(default_factory=lambda: int(time.time()))

    @property
    def codec(self) -> ChatCodec:
        return self.lane.engine.codec

    @property
    def thinks(self) -> bool:
        return has_thoughts(self.codec)

    def opened(self, messages: list[Message]) -> list[Message]:
        """As in training: with the system message that its rows shared, if there is no other."""
        if self.system and messages[0].role != "system":
            return [Message("system", self.system), *messages]
        return messages

    def prompt(self, messages: list[Message], thinking: bool | None, window: bool, most: int | None) -> list[int]:
        """`window`: the oldest turns are left out where it would be too long for an answer of `most` tokens."""
        messages = self.opened(messages)
        if window:
            messages = fitting(self.codec, messages, room_for_prompt(self.lane.length, most), thinking)
        return self.codec.prompt(messages, thinking)


class Service:
    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.metrics = Metrics()
        self.worker = Worker(self.metrics)
        self.models: dict[str, Model] = {}
        self.draining = False
        self.users = 0  # requests that are under way

    @property
    def ready(self) -> bool:
        failed = any(model.lane.failure for model in self.models.values())
        return bool(self.models) and not self.draining and self.worker.alive and not failed

    def offer(self, model: Model) -> None:
        """Instead of what had the name before: that goes on with what it has begun."""
        before = self.models.get(model.name)
        self.worker.open(model.lane)
        self.models[model.name] = model
        if before is not None:
            self.worker.retire(before.lane)

    @contextmanager
    def knowing(self, name: str) -> Iterator[Model]:
        """A model that isn't closed while somebody knows it."""
        model = self.model(name)
        if self.draining:
            raise ApiError(503, t("serve.draining"), "draining")
        model.lane.users += 1
        self.users += 1
        try:
            yield model
        finally:
            model.lane.users -= 1
            self.users -= 1

    def model(self, name: str) -> Model:
        if name not in self.models:
            raise ApiError(404, t("serve.no-model", name=name, known=", ".join(self.models)), "model_not_found", "model")
        return self.models[name]

    def admit(self, answers: int) -> None:
        if not self.worker.alive:
            raise ApiError(503, t("serve.dead"), "not_ready")
        if self.worker.waiting and self.worker.waiting + answers > self.limits.waiting:
            raise ApiError(429, t("serve.full", waiting=self.worker.waiting), "queue_full")
