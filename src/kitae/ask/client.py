"""Whoever answers requests: a model on this machine, or an endpoint somewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from kitae.ask.request import Reply, Request, without_thought
from kitae.generate import Engine, Settings, complete

_ROOM = 8  # tokens that an answer needs at least


Numbered = tuple[int, Request]


class Client(Protocol):
    name: str  # of the model

    def answer(self, requests: Iterator[Numbered | None]) -> Iterator[list[tuple[int, Reply]]]:
        """Numbered requests, taken when there is room for them; numbered replies, as they come. None: no more before some of
        those under way are answered."""
        ...

    def close(self) -> None: ...


class LocalClient:
    """Requests of one kind are answered together, as many as the engine takes."""

    def __init__(self, engine: Engine, name: str) -> None:
        self.name = name
        self._engine = engine

    def answer(self, requests: Iterator[Numbered | None]) -> Iterator[list[tuple[int, Reply]]]:
        group: list[Numbered] = []
        for numbered in requests:
            full = len(group) == self._engine.width
            if group and (numbered is None or full or _kind(numbered[1]) != _kind(group[0][1])):
                yield self._together(group)
                group = []
            if numbered is not None:
                group.append(numbered)
        if group:
            yield self._together(group)

    def _together(self, group: list[Numbered]) -> list[tuple[int, Reply]]:
        prompts = {number: self._engine.codec.prompt(request.messages) for number, request in group}
        fitting = [number for number, prompt in prompts.items() if len(prompt) + _ROOM <= self._engine.context]
        first = group[0][1]
        settings = Settings(max_tokens=first.max_tokens, temperature=first.temperature, seed=first.seed, stop=first.stop)
        answers = complete(self._engine, [prompts[number] for number in fitting], settings) if fitting else []
        replies = {
            number: Reply(without_thought(answer.text), answer.finish, len(prompts[number]), len(answer.tokens))
            for number, answer in zip(fitting, answers, strict=True)
        }
        too_long = f"more than {self._engine.context} tokens"
        return [(number, replies.get(number) or Reply("", failed=too_long)) for number in prompts]

    def close(self) -> None:
        self._engine.close()


def _kind(request: Request) -> tuple[object, ...]:
    return request.max_tokens, request.temperature, request.stop
