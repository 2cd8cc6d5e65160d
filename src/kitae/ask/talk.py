"""A conversation with a model: what was said stays read, and what no longer fits is left out, the oldest turns first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from kitae.ask.answering import check_text
from kitae.chat import Message, fitting
from kitae.generate import Chunk, Engine, Scheduler, Settings, Stage, Wish, room, room_for_prompt, stages


class Talk:
    def __init__(self, engine: Engine, opening: Sequence[Message]) -> None:
        """`opening`: what every conversation begins with."""
        self.engine, self._opening = engine, list(opening)
        self.messages = list(opening)
        length, _ = room(engine, places=2)
        self._scheduler = Scheduler(engine, length, 2)
        self._asked: list[int] = []  # tokens of the last prompt
        self.said: list[int] = []  # and of the answer to it
        self.left_out = 0  # messages of the last prompt that no longer fitted

    def reset(self) -> None:
        self.messages, self.said = list(self._opening), []

    def say(self, text: str, settings: Settings) -> Iterator[Chunk]:
        """The answer, piece by piece. It becomes part of the conversation as far as it is taken."""
        check_text(text)
        messages = [*self.messages, Message("user", text)]
        shown = fitting(self.engine.codec, messages, room_for_prompt(self._scheduler.length, settings.max_tokens))
        self.left_out = len(messages) - len(shown)
        self._asked, self.said = self.engine.codec.prompt(shown), []
        self._settings = settings
        number = self._scheduler.add(self._asked, settings)
        answer = ""
        try:
            while self._scheduler.busy:
                for chunk in self._scheduler.step():
                    if chunk.error is not None:
                        raise chunk.error
                    answer += chunk.text
                    self.said += chunk.tokens
                    yield chunk
        finally:
            self._scheduler.drop(number)
            if self.said:
                self.messages = [*messages, Message("assistant", answer)]

    def why(self, number: int) -> list[Stage]:
        """What the rivals of a token of the last answer were, after each thing that settings do."""
        before = [*self._asked, *self.said[:number]]
        logits = self.engine.logits([*before, self.said[number]], len(before) - 1)[0]
        return stages(logits, Wish(self._settings, before, np.random.default_rng(0), len(self._asked)))

    def close(self) -> None:
        self._scheduler.close()
        self.engine.close()
