"""Answers that are checked when they are finished, and asked for again: for what no grammar can say."""

from __future__ import annotations

from collections.abc import Sequence

from kitae.chat import Message
from kitae.core.errors import InputError, KitaeError
from kitae.generate import Completion, Engine, Settings, complete, first_problem

_AGAIN = "That is not valid: {problem}\nAnswer again, with nothing but the corrected JSON."


def checked_answer(
    engine: Engine, messages: Sequence[Message], settings: Settings, schema: str, tries: int = 3
) -> tuple[Completion, int]:
    """The first answer that is valid by the JSON Schema, and how many it took. Each time the model is shown its last answer and
    what was wrong with it."""
    if settings.n > 1 or settings.beams > 1 or settings.best_of is not None:
        raise InputError("check-one")
    problem = ""
    said = list(messages)
    for number in range(1, tries + 1):
        answer = complete(engine, [engine.codec.prompt(said)], settings)[0]
        problem = first_problem(answer.text, schema) or ""
        if not problem:
            return answer, number
        said = [*messages, Message("assistant", answer.text), Message("user", _AGAIN.format(problem=problem))]
    raise KitaeError("answer-invalid", why=f"{problem}\n{answer.text[:400]}", tries=tries)
