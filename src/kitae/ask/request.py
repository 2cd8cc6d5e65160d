"""A question to whoever answers, here or elsewhere, and the reply."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from kitae.chat import Message
from kitae.core.files import hash_text

_THOUGHT = re.compile(r"\A\s*<think(?:ing)?>.*?(?:</think(?:ing)?>\s*|\Z)", re.DOTALL)


@dataclass(frozen=True)
class Request:
    messages: tuple[Message, ...]
    max_tokens: int = 512
    temperature: float = 0.0
    seed: int = 0  # tells apart what is asked several times
    stop: tuple[str, ...] = ()  # texts before which an answer ends

    @property
    def key(self) -> str:
        said = [part for m in self.messages for part in (m.role, m.content)]
        return hash_text(*said, str(self.max_tokens), str(self.temperature), str(self.seed), *self.stop)


@dataclass(frozen=True)
class Reply:
    text: str
    finish: str = "stop"  # or "length": it was cut off; or what an endpoint calls it
    asked: int = 0  # tokens of the request
    said: int = 0  # and of the reply
    failed: str = ""  # why there is none
    passing: bool = False  # whether it may go better the next time

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def without_thought(text: str) -> str:
    """What some models only think before they answer is no part of the answer."""
    return _THOUGHT.sub("", text, count=1)


# None: it was not asked, because a budget is spent.
Ask = Callable[[Sequence[Request]], list[Reply | None]]
