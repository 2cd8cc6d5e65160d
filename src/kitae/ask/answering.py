"""`kitae generate` and `chat`: an engine for whatever the user names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NotRequired, TypedDict

from kitae.chat import RAW, Message
from kitae.core.errors import InputError, NotText
from kitae.core.libraries import quiet_libraries
from kitae.generate import Chunk, Completion, Engine, Settings, answers, open_engine, stream
from kitae.targets import resolve


class Answer(TypedDict):
    text: str
    tokens: int
    finish: str
    answers: NotRequired[list[Answer]]  # where more than one was asked for; the first is the one above
    tries: NotRequired[int]  # where it was checked


def open_target(target: str, trained: bool = False, template: str | None = None) -> tuple[Engine, str | None]:
    """An engine for it, and its system message. `template`: a name or a file, instead of its own."""
    quiet_libraries()
    found = resolve(target, trained, template)
    return open_engine(found), None if template == RAW else found.system


def generate(
    target: str,
    prompt: str,
    system: str | None = None,
    settings: Settings | None = None,
    template: str | None = None,
    check: str | None = None,
    tries: int = 3,
) -> Answer:
    """An answer to one message. `template`: "raw", "chatml" or a Jinja file, instead of the model's own. `check`: a JSON Schema
    that the finished answer has to meet; it is asked for again until it does."""
    from kitae.ask.checked import checked_answer

    engine, own_system = open_target(target, template=template)
    settings = settings or Settings()
    try:
        messages = conversation(prompt, system if system is not None else own_system)
        check_text(prompt)
        if check is not None:
            found, number = checked_answer(engine, messages, settings, check, tries)
            return {**_told(found), "tries": number}
        if settings.n == 1:
            return _told(answers(engine, engine.codec.prompt(messages), settings)[0])
        every = [_told(found) for found in answers(engine, engine.codec.prompt(messages), settings)]
        return {**every[0], "answers": every}
    finally:
        engine.close()


def _told(found: Completion) -> Answer:
    return {"text": found.text, "tokens": len(found.tokens), "finish": found.finish}


def conversation(prompt: str, system: str | None) -> list[Message]:
    return [*([Message("system", system)] if system else []), Message("user", prompt)]


def answer(engine: Engine, messages: Sequence[Message], settings: Settings) -> Iterator[Chunk]:
    check_text(messages[-1].content)
    for message in messages[:-1]:
        _check_bytes(message.content)
    return stream(engine, [engine.codec.prompt(messages)], settings)


def check_text(prompt: str) -> None:
    """Of a person, who may have typed nothing."""
    if not prompt.strip():
        raise InputError("prompt-empty")
    _check_bytes(prompt)


def _check_bytes(text: str) -> None:
    try:
        text.encode("utf-8")  # a terminal or pipe may deliver bytes that are no text
    except UnicodeEncodeError as error:
        raise NotText("not-text", where=ascii(text)[:80], why=str(error)) from error
