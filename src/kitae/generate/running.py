"""One sequence of the decode loop: what was asked, what came of it so far, and why it ends."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from kitae.core.errors import KitaeError
from kitae.generate.repetition import Circles
from kitae.generate.sampling import Logits, Wish, logprob_of
from kitae.generate.settings import Chunk, Finish, Settings, TokenLogprob
from kitae.generate.stops import TextStream

if TYPE_CHECKING:
    from kitae.generate.constraints import Matcher


@dataclass
class Running:
    number: int
    history: list[int]  # the prompt, and the answer so far
    settings: Settings
    random: np.random.Generator
    left: int  # tokens that it may still get
    asked: int  # tokens of the prompt
    owner: str = ""
    matcher: Matcher | None = None
    read: int = 0  # tokens of the history that the model has read
    known: int = 0  # tokens of the prompt that it need not read
    text: TextStream = field(init=False)
    said: str = ""  # the text so far, if somebody wants to see it
    circles: Circles | None = None
    until: float = math.inf  # by the clock

    def __post_init__(self) -> None:
        self.text = TextStream(self.settings.stop)
        self.circles = Circles() if self.settings.stop_repeating else None
        if self.settings.max_seconds is not None:
            self.until = time.monotonic() + self.settings.max_seconds

    @property
    def answering(self) -> bool:
        """Its prompt has been read to the end."""
        return len(self.history) > self.asked

    @property
    def unread(self) -> int:
        return len(self.history) - self.read

    @property
    def wish(self) -> Wish:
        return Wish(self.settings, self.history, self.random, self.asked)

    def allowed(self, logits: Logits) -> Logits:
        return logits if self.matcher is None else self.matcher.masked(logits)

    def failed(self, error: KitaeError) -> Chunk:
        return Chunk(self.number, self.text.flush(), (), "failed", (), self.known, error)

    def grown(self, token: int, data: bytes, stops: bool, logits: Logits) -> Chunk:
        """By a token, whose text is `data`. `stops`: it is one of those that end an answer."""
        told = self._told(token, logits)
        if stops:
            return Chunk(self.number, self.text.flush(), (token,), "stop", told, self.known)
        self.history.append(token)
        self.left -= 1
        if self.matcher is not None:
            self.matcher.accept(token)
        text = self.text.feed(data)
        why = self._why_end(token, text)
        if why is not None and not self.text.stopped:
            text += self.text.flush()  # in which a stop string may turn up
            why = "stop" if self.text.stopped else why
        return Chunk(self.number, text, (token,), why, told, self.known)

    def _told(self, token: int, logits: Logits) -> tuple[TokenLogprob, ...]:
        return () if self.settings.logprobs is None else (logprob_of(logits, token, self.settings.logprobs),)

    def _why_end(self, token: int, text: str) -> Finish | None:
        """After a token that is no stop, and the text that it made certain."""
        if self.text.stopped or (self.matcher is not None and self.matcher.ended):
            return "stop"
        if self.circles is not None and self.circles.goes_on(token):
            return "repetition"
        if self.settings.stop_when is not None:
            self.said += text
            if self.settings.stop_when(self.said):
                return "callable"
        if not self.left:
            return "length"
        return "time" if time.monotonic() >= self.until else None
