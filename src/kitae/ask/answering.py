"""`kitae generate` and `chat`: an engine for whatever the user names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypedDict

from kitae.chat import RAW, Message
from kitae.core.errors import InputError, NotText
from kitae.core.libraries import quiet_libraries
from kitae.generate import Chunk, Engine, Settings, open_engine, stream
from kitae.targets import resolve


class Answer(TypedDict):
    text: str
    tokens: int
    finish: str


def open_target(target: str, trained: bool = False, template: str | None = None) -> tuple[Engine, str | None]:
    """An engine for it, and its system message. `template`: a name or a file, instead of its own."""
    quiet_libraries()
    found = resolve(target, trained, template)
    return open_engine(found), None if template == RAW else found.system


def generate(
    target: str, prompt: str, system: str | None = None, settings: Settings | None = None, template: str | None = None
) -> Answer:
    """One answer to one message. `template`: "raw", "chatml" or a Jinja file, instead of the model's own."""
    engine, own_system = open_target(target, template=template)
    try:
        text, tokens, finish = "", 0, "length"
        for chunk in answer(engine, conversation(prompt, system if system is not None else own_system), settings or Settings()):
            text += chunk.text
            tokens += len(chunk.tokens)
            finish = chunk.finish or finish
        return {"text": text, "tokens": tokens, "finish": finish}
    finally:
        engine.close()


def conversation(prompt: str, system: str | None) -> list[Message]:
    return [*([Message("system", system)] if system else []), Message("user", prompt)]


def answer(engine: Engine, messages: Sequence[Message], settings: Settings) -> Iterator[Chunk]:
    if not messages[-1].content.strip():
        raise InputError("prompt-empty")
    for message in messages:
        try:
            message.content.encode("utf-8")  # a terminal or pipe may deliver bytes that are no text
        except UnicodeEncodeError as error:
            raise NotText("not-text", where=ascii(message.content)[:80], why=str(error)) from error
    return stream(engine, [engine.codec.prompt(messages)], settings)
