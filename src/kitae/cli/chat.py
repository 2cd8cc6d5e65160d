"""Talking to a model in a terminal."""

from __future__ import annotations

import sys

from kitae.ask import answer, conversation, open_target
from kitae.chat import Message
from kitae.core.console import console
from kitae.core.errors import ContextFull, NotText
from kitae.core.files import JsonDict
from kitae.core.i18n import t
from kitae.generate import Engine, Settings


def say_answer(target: str, prompt: str, system: str | None, settings: Settings, template: str | None) -> JsonDict:
    """Streams one answer to stdout unless the result is to be printed as JSON."""
    engine, own_system = open_target(target, template=template)
    try:
        messages = conversation(prompt, system if system is not None else own_system)
        text, tokens, finish = _stream(engine, messages, settings)
        return {"text": text, "tokens": tokens, "finish": finish}
    finally:
        engine.close()


def chat(target: str, system: str | None, settings: Settings, template: str | None) -> list[dict[str, str]]:
    """Reads lines until the end of input. `/reset` forgets, `/quit` leaves, Ctrl-C stops an answer."""
    engine, own_system = open_target(target, template=template)
    opening = conversation("", system if system is not None else own_system)[:-1]
    messages = list(opening)
    console.say(t("say.chat"))
    try:
        while True:
            try:
                line = _read_line()
            except KeyboardInterrupt:
                console.say("")
                continue
            if line is None or line == "/quit":
                return [m.as_dict() for m in messages]
            if line == "/reset":
                messages = list(opening)
                console.say(t("say.reset"))
            elif line.strip():
                _turn(engine, messages, line, settings)
    finally:
        engine.close()


def _turn(engine: Engine, messages: list[Message], line: str, settings: Settings) -> None:
    """Adds a question and its answer; what a Ctrl-C cuts off stays in the history as far as it was said."""
    messages.append(Message("user", line))
    try:
        text, _, finish = _stream(engine, messages, settings)
    except (ContextFull, NotText) as error:
        messages.pop()
        console.say(f"{error.message} → {error.fix}")
        return
    messages.append(Message("assistant", text))
    if finish == "length":
        console.say(t("say.cut-off"))


def _stream(engine: Engine, messages: list[Message], settings: Settings) -> tuple[str, int, str]:
    text, tokens, finish = "", 0, "length"
    try:
        for chunk in answer(engine, messages, settings):
            text += chunk.text
            tokens += len(chunk.tokens)
            finish = chunk.finish or finish
            if not console.quiet:
                sys.stdout.write(chunk.text)
                sys.stdout.flush()
    except KeyboardInterrupt:
        finish = "interrupted"
    if not console.quiet:
        sys.stdout.write("\n")
    return text, tokens, finish


def _read_line() -> str | None:
    if sys.stdin.isatty():
        import readline  # noqa: F401 - gives input() history and editing

    try:
        return input("> " if sys.stdin.isatty() else "")
    except EOFError:
        return None
