"""Talking to a model in a terminal."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from typing import Any

from kitae.ask import Answer, Talk, answer, conversation, generate, open_target
from kitae.cli.result import grid
from kitae.core.console import console
from kitae.core.errors import ContextFull, NotText
from kitae.core.i18n import t
from kitae.generate import Chunk, Settings, candidates, token_bytes

_SHOWN = 6  # candidates of a token
_SET = (
    "temperature", "top_k", "top_p", "min_p", "typical_p", "repetition_penalty", "presence_penalty", "frequency_penalty",
    "dry_multiplier", "max_tokens", "seed",
)  # fmt: skip


def say_answer(
    target: str, prompt: str, system: str | None, settings: Settings, template: str | None, check: str | None, tries: int
) -> Answer:
    """Streams one answer to stdout unless the result is to be printed as JSON, or is only known in the end."""
    if check is not None or settings.n > 1 or settings.beams > 1 or settings.best_of is not None:
        found = generate(target, prompt, system, settings, template, check, tries)
        if not console.quiet:
            print(text_of(found))
        return found
    engine, own_system = open_target(target, template=template)
    try:
        messages = conversation(prompt, system if system is not None else own_system)
        text, tokens, finish = _stream(answer(engine, messages, settings))
        if finish == "interrupted":
            raise KeyboardInterrupt
        _say_why_ended(finish, settings.constraint is not None)
        return {"text": text, "tokens": tokens, "finish": finish}
    finally:
        engine.close()


def text_of(found: Answer) -> str:
    return "\n\n".join(each["text"] for each in found.get("answers", [found]))


def _say_why_ended(finish: str, constrained: bool) -> None:
    """Unless it ended by itself."""
    match finish:
        case "length":
            console.say(t("say.cut-off"))
        case "time":
            console.say(t("say.cut-off-time"))
        case "repetition":
            console.say(t("say.cut-off-repeating"))
    if constrained and finish != "stop":
        console.say(t("say.unfinished"))


def chat(target: str, system: str | None, settings: Settings, template: str | None) -> list[dict[str, str]]:
    """Reads lines until the end of input. Lines that begin with a slash are commands; Ctrl-C stops an answer."""
    engine, own_system = open_target(target, template=template)
    talk = Talk(engine, conversation("", system if system is not None else own_system)[:-1])
    console.say(t("say.chat"))
    try:
        while True:
            try:
                line = _read_line()
            except KeyboardInterrupt:
                console.say("")
                continue
            if line is None or line == "/quit":
                return [m.as_dict() for m in talk.messages]
            if line.startswith("/"):
                settings = _command(talk, line[1:].split(), settings)
            elif line.strip():
                _turn(talk, line, settings)
    finally:
        talk.close()


def _command(talk: Talk, words: list[str], settings: Settings) -> Settings:
    match words:
        case ["reset"]:
            talk.reset()
            console.say(t("say.reset"))
        case ["set"]:
            console.say("\n".join(f"{name} = {getattr(settings, name)}" for name in _SET))
        case ["set", name, value] if (known := name.replace("-", "_")) in _SET:
            try:
                return _changed(settings, known, value)
            except ValueError:
                console.say(t("say.set-value", name=name, value=value))
        case ["set", *_]:
            console.say(t("say.set-names", names=", ".join(_SET)))
        case ["why"]:
            _why(talk, 1)
        case ["why", number] if number.isdecimal():
            _why(talk, int(number))
        case _:
            console.say(t("say.chat-commands"))
    return settings


def _changed(settings: Settings, name: str, value: str) -> Settings:
    whole = name in ("top_k", "max_tokens", "seed")
    number = int(value) if whole else float(value)
    least = 1 if name == "max_tokens" else 0.1 if name == "repetition_penalty" else -2.0 if name in _PENALTIES else 0
    most = 1.0 if name in ("top_p", "min_p", "typical_p") else float("inf")
    if not least <= number <= most:
        raise ValueError(value)
    change: dict[str, Any] = {name: number}
    return dataclasses.replace(settings, **change)


_PENALTIES = ("presence_penalty", "frequency_penalty")


def _why(talk: Talk, number: int) -> None:
    """A token of the last answer, with what it was chosen from: a column for each thing that the settings did."""
    if not 1 <= number <= len(talk.said):
        console.say(t("say.why-none", count=len(talk.said)))
        return
    piece = token_bytes(talk.engine.codec.vocabulary)
    found, chosen = talk.why(number - 1), talk.said[number - 1]
    rows = [["", t("say.why-token"), *(t("say.why-model") if stage.name == "model" else stage.name for stage in found)]]
    tokens = candidates(found, _SHOWN)
    for token in [*tokens, *([chosen] if chosen not in tokens else [])]:
        text = piece(token).decode("utf-8", "replace").replace("\n", "⏎")
        shares = [stage.probabilities[token] for stage in found]
        rows.append(
            ["→" if token == chosen else "", f"“{text}”", *(f"{100 * share:.1f} %" if share else "–" for share in shares)]
        )
    console.say(grid(rows))


def _turn(talk: Talk, line: str, settings: Settings) -> None:
    """A question and its answer; what a Ctrl-C cuts off stays in the history as far as it was said."""
    try:
        _, _, finish = _stream(talk.say(line, settings))
    except (ContextFull, NotText) as error:
        console.say(f"{error.message} → {error.fix}")
        return
    if talk.left_out:
        console.say(t("say.left-out", count=talk.left_out))
    _say_why_ended(finish, constrained=False)


def _stream(chunks: Iterator[Chunk]) -> tuple[str, int, str]:
    text, tokens, finish = "", 0, "length"
    try:
        for chunk in chunks:
            text += chunk.text
            tokens += len(chunk.tokens)
            finish = chunk.finish or finish
            if not console.quiet:
                sys.stdout.write(chunk.text)
                sys.stdout.flush()
    except KeyboardInterrupt:
        finish = "interrupted"
        chunks.close()  # type: ignore[attr-defined]
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
