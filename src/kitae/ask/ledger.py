"""What was asked and answered, line by line in a file, so that no call is paid for twice; and what it may cost at most."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from kitae.ask.client import Client, Numbered
from kitae.ask.request import Reply, Request
from kitae.core.errors import KitaeError
from kitae.core.files import JsonDict, append_json, appended

_TRIES = 5  # of a request whose failures may have been paid for
_IN_A_ROW = 8  # such failures, or refusals before anything was answered: no more is asked
_OVERHEAD = 64  # tokens of a message beside its text, until an endpoint is seen to count more
_BYTES_A_TOKEN = 3  # of replies that nobody counts
_FIELDS = {field.name for field in fields(Reply)}


@dataclass(frozen=True)
class Budget:
    tokens: int | None = None
    money: float | None = None
    price: tuple[float, float] = (0.0, 0.0)  # of a million tokens asked, and said

    def cost(self, asked: int, said: int) -> float:
        return (asked * self.price[0] + said * self.price[1]) / 1e6


@dataclass
class Spent:
    calls: int = 0
    asked: int = 0
    said: int = 0
    lost: int = 0  # calls that were begun and never answered; they count as if they had cost all that they could

    def as_dict(self, budget: Budget) -> JsonDict:
        money = {"money": round(budget.cost(self.asked, self.said), 6)} if any(budget.price) else {}
        return {"calls": self.calls, "tokens_asked": self.asked, "tokens_said": self.said, "calls_lost": self.lost, **money}


class Ledger:
    def __init__(
        self,
        file: Path,
        budget: Budget | None = None,
        on_reply: Callable[[Spent], None] = lambda _: None,
        with_messages: bool = True,
    ) -> None:
        """`with_messages`: what was asked is written down too, not only its hash."""
        self.budget = budget or Budget()
        self.spent = Spent()
        self._file, self._on_reply, self._with_messages = file, on_reply, with_messages
        self._known: dict[str, Reply] = {}
        self._in_flight: dict[str, tuple[int, int]] = {}
        self._overhead = 0  # of a whole request, beside its messages' own
        self._failures = 0
        self._refusal: str | None = None  # why nothing more is asked
        self.short_of: int | None = None  # tokens that a call may cost which the budget does not hold
        self._refused: list[list[object]] = []  # not written down yet
        for line in appended(file):
            self._remember(line)
        if self._in_flight:  # a kill took them
            append_json(file, {"lost": [[key, *most] for key, most in self._in_flight.items()]})
        for key in list(self._in_flight):
            self._lose(key)

    def _remember(self, line: Any) -> None:
        """A line of another shape says nothing."""
        try:
            for key, asked, said in line.get("begun", []):
                self._lose(key)
                self._in_flight[key] = (int(asked), int(said))
            for key, asked, said in line.get("lost", []):
                self._in_flight[key] = (int(asked), int(said))
                self._lose(key)
            for key, found in line.get("replies", []):
                reply = Reply(**{name: value for name, value in found.items() if name in _FIELDS})
                self._in_flight.pop(key, None)
                self._keep(key, reply)
        except (TypeError, ValueError, AttributeError):
            return

    def ask(self, client: Client, requests: Sequence[Request]) -> list[Reply | None]:
        """In the order of the requests; equal ones are asked once. What failed for good comes as a reply that says so; what
        failed for now is asked again, and ends the work if that is of no use."""
        keys = [f"{client.name} {request.key}" for request in requests]
        missing = {key: request for key, request in zip(keys, requests, strict=True) if key not in self._known}
        for _ in range(_TRIES):
            failed = self._answered(client, missing)
            missing = {key: missing[key] for key in failed}
            if not missing or self._refusal is not None:
                break
        if missing or self._refusal is not None:
            why = self._refusal or "; ".join(dict.fromkeys(failed.values()))[:300]
            raise KitaeError("endpoint-failing", where=client.name, why=why, count=len(missing))
        return [self._known.get(key) for key in keys]

    def _answered(self, client: Client, wanted: dict[str, Request]) -> dict[str, str]:
        """What failed for now, and why."""
        keys, failed = list(wanted), {}
        numbered = ((i, wanted[key]) for i, key in enumerate(keys))
        for some in client.answer(self._affordable(numbered, keys)):
            replies = [(keys[i], _counted(wanted[keys[i]], reply)) for i, reply in some]
            self._write(replies)
            for key, reply in replies:
                if reply.passing:
                    self._lose(key)
                    failed[key] = reply.failed
                else:
                    self._in_flight.pop(key)
                    self._keep(key, reply)
                    self._overhead = max(self._overhead, reply.asked - _bytes(wanted[key]))
                self._judge(reply)
            self._on_reply(self.spent)
        return failed

    def _write(self, replies: Sequence[tuple[str, Reply]]) -> None:
        """Refusals only once something was answered: until then it may be the settings that are wrong."""
        self._refused += [[key, reply.as_dict()] for key, reply in replies if reply.failed and not reply.passing]
        answered = [[key, reply.as_dict()] for key, reply in replies if not reply.failed]
        kept = [*self._refused, *answered] if answered or self.spent.calls else []
        lost = [[key, *self._in_flight[key]] for key, reply in replies if reply.passing]
        if kept:
            self._refused = []
        if kept or lost:
            append_json(self._file, {"replies": kept, "lost": lost})

    def _judge(self, reply: Reply) -> None:
        """Those under way are paid for, so they are still waited for when nothing more is asked."""
        if not reply.failed:
            self._failures = 0
        elif reply.passing or not self.spent.calls:
            self._failures += 1
            if self._failures >= _IN_A_ROW:
                self._refusal = reply.failed

    def _affordable(self, requests: Iterator[Numbered], keys: Sequence[str]) -> Iterator[Numbered | None]:
        for i, request in requests:
            most = self._most(request)
            while not self._may_cost(*most):
                if not self._in_flight:
                    self.short_of = sum(most)
                    return
                yield None  # what is under way may turn out to cost less than it could
                most = self._most(request)
            if self._refusal is not None:
                return
            self._in_flight[keys[i]] = most
            said = {"messages": [m.as_dict() for m in request.messages]} if self._with_messages else {}
            append_json(self._file, {"begun": [[keys[i], *most]], **said})
            yield i, request

    def _may_cost(self, asked: int, said: int) -> bool:
        asked += self.spent.asked + sum(asked for asked, _ in self._in_flight.values())
        said += self.spent.said + sum(said for _, said in self._in_flight.values())
        if self.budget.tokens is not None and asked + said > self.budget.tokens:
            return False
        return self.budget.money is None or self.budget.cost(asked, said) <= self.budget.money

    def _most(self, request: Request) -> tuple[int, int]:
        """What a request may cost, in tokens asked and said. No tokenizer makes more tokens of a text than it has bytes."""
        return _bytes(request) + self._overhead, request.max_tokens

    def _keep(self, key: str, reply: Reply) -> None:
        self._known[key] = reply
        if not reply.failed:
            self.spent.calls += 1
            self.spent.asked += reply.asked
            self.spent.said += reply.said

    def _lose(self, key: str) -> None:
        if (most := self._in_flight.pop(key, None)) is not None:
            self.spent.lost += 1
            self.spent.asked += most[0]
            self.spent.said += most[1]


def _bytes(request: Request) -> int:
    return sum(len(m.content.encode("utf-8", "replace")) + _OVERHEAD for m in request.messages)


def _counted(request: Request, reply: Reply) -> Reply:
    """With an estimate of what an endpoint does not count."""
    if reply.failed:
        return reply
    said = len(reply.text.encode("utf-8", "replace")) // _BYTES_A_TOKEN + 1
    return replace(
        reply, asked=reply.asked if reply.asked > 0 else _bytes(request), said=reply.said if reply.said > 0 else said
    )
