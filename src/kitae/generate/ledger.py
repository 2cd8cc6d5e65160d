"""What was asked and answered, line by line in a file, so that no call is paid for twice; and what it may cost at most."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kitae.chat import Reply, Request
from kitae.errors import KitaeError
from kitae.files import JsonDict, append_json, appended
from kitae.generate.speaker import Numbered, Speaker

_FAILURES = 3  # in a row, after all patience: no more is asked
_BYTES_A_TOKEN = 3  # where nobody counts; rather too many than too few
_OVERHEAD = 12  # tokens of a message beside its text


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
    def __init__(self, file: Path, budget: Budget | None = None, on_reply: Callable[[Spent], None] = lambda _: None) -> None:
        self.budget = budget or Budget()
        self.spent = Spent()
        self._file, self._on_reply = file, on_reply
        self._known: dict[str, Reply] = {}
        self._in_flight: dict[str, tuple[int, int]] = {}
        self._failures = 0
        for line in appended(file):
            self._remember(line if isinstance(line, dict) else {})
        for asked, said in self._in_flight.values():
            self._lose(asked, said)
        self._in_flight.clear()

    def _remember(self, line: JsonDict) -> None:
        for key, asked, said in line.get("begun", []):
            self._in_flight[key] = (asked, said)
        for key, reply in line.get("replies", []):
            self._in_flight.pop(key, None)
            self._known[key] = Reply(**reply)
            self._count(self._known[key])

    def ask(self, speaker: Speaker, requests: Sequence[Request]) -> list[Reply | None]:
        """In the order of the requests. What failed comes as a reply that says so, and is asked again the next time."""
        keys = [f"{speaker.name} {request.key}" for request in requests]
        found = [self._known.get(key) for key in keys]
        missing = ((i, requests[i]) for i, reply in enumerate(found) if reply is None)
        for some in speaker.answer(self._affordable(missing, keys)):
            counted = [(i, _counted(requests[i], reply)) for i, reply in some]
            good = [[keys[i], reply.as_dict()] for i, reply in counted if not reply.failed]
            if good:
                append_json(self._file, {"replies": good})
            for i, reply in counted:
                found[i] = reply
                self._settle(keys[i], reply)
            self._on_reply(self.spent)
            if self._failures >= _FAILURES:
                raise KitaeError("endpoint-failing", where=speaker.name, why=counted[-1][1].failed, count=self._failures)
        return found

    def _affordable(self, requests: Iterator[Numbered], keys: Sequence[str]) -> Iterator[Numbered | None]:
        for i, request in requests:
            most = _most(request)
            while not self._may_cost(*most):
                if not self._in_flight:
                    return
                yield None  # what is under way may turn out to cost less than it could
            self._in_flight[keys[i]] = most
            append_json(self._file, {"begun": [[keys[i], *most]], "messages": [m.as_dict() for m in request.messages]})
            yield i, request

    def _settle(self, key: str, reply: Reply) -> None:
        most = self._in_flight.pop(key)
        if reply.failed:
            self._lose(*most)
            self._failures += 1
        else:
            self._known[key] = reply
            self._count(reply)
            self._failures = 0

    def _may_cost(self, asked: int, said: int) -> bool:
        asked += self.spent.asked + sum(asked for asked, _ in self._in_flight.values())
        said += self.spent.said + sum(said for _, said in self._in_flight.values())
        if self.budget.tokens is not None and asked + said > self.budget.tokens:
            return False
        return self.budget.money is None or self.budget.cost(asked, said) <= self.budget.money

    def _lose(self, asked: int, said: int) -> None:
        self.spent.lost += 1
        self.spent.asked += asked
        self.spent.said += said

    def _count(self, reply: Reply) -> None:
        self.spent.calls += 1
        self.spent.asked += reply.asked
        self.spent.said += reply.said


def _most(request: Request) -> tuple[int, int]:
    """What a request may cost, in tokens asked and said."""
    return sum(len(m.content.encode()) // _BYTES_A_TOKEN + _OVERHEAD for m in request.messages), request.max_tokens


def _counted(request: Request, reply: Reply) -> Reply:
    """With an estimate where an endpoint does not count."""
    if reply.failed or reply.asked or reply.said:
        return reply
    said = len(reply.text.encode()) // _BYTES_A_TOKEN + 1
    return Reply(reply.text, reply.finish, _most(request)[0], said, reply.failed)
