"""A chat template in Ollama's language, and what a Modelfile says."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from kitae.chat.conversation import Message
from kitae.chat.go_template import NotUnderstood, mentions, parse, render, up_to
from kitae.chat.template import ChatTemplate
from kitae.core.errors import InputError

_COMMAND = re.compile(
    r'^\s*(FROM|TEMPLATE|PARAMETER|SYSTEM|LICENSE)\s+(?:"""(.*?)"""|([^\n]*?))\s*$', re.IGNORECASE | re.DOTALL | re.MULTILINE
)


@dataclass(frozen=True)
class Modelfile:
    source: str | None = None  # what it is about
    template: str | None = None
    stops: list[str] = field(default_factory=list)


def read_modelfile(text: str) -> Modelfile:
    source, template, stops = None, None, []
    for match in _COMMAND.finditer(text):
        command, quoted, plain = match.group(1).upper(), match.group(2), match.group(3)
        if command == "FROM":
            source = (plain or "").strip()
        elif command == "TEMPLATE":
            template = quoted if quoted is not None else plain.strip('"')
        elif command == "PARAMETER":
            name, *value = (plain or "").split(None, 1)
            if name == "stop":
                stops.append("".join(value).strip().strip('"'))
    return Modelfile(source, template, stops)


# Talks in which every kind of border between two messages occurs.
_TURNS = [("user", "Hello."), ("assistant", "Hi."), ("user", "Who are you?"), ("assistant", "A model."), ("user", "Thanks.")]
_SYSTEM = Message("system", "Be brief.")


def sample_talks(template: ChatTemplate) -> list[list[Message]]:
    """One and three turns, without a system message, and with one if the template takes it."""
    talks = [[Message(*turn) for turn in _TURNS[:count]] for count in (1, len(_TURNS))]
    return [*talks, *([_SYSTEM, *talk] for talk in talks)] if takes_system(template) else talks


def takes_system(template: ChatTemplate) -> bool:
    try:
        return _SYSTEM.content in template.render([_SYSTEM, Message("user", "?")], add_generation_prompt=True)
    except InputError:
        return False


def ollama_template(template: ChatTemplate, adds_beginning: bool = False) -> str:
    """By asking the real one what it puts between messages. `adds_beginning`: whether Ollama puts the token that texts begin
    with before every prompt, as the GGUF file can tell it to.

    Empty if some talk would not be rendered exactly as by the real one: it repeats a message, or says today's date.
    """
    if "strftime_now" in template.source:  # it would say today's date for ever
        return ""
    begins = template.special_tokens.get("bos_token", "") if adds_beginning else ""
    said = _ollama_template(template, begins)
    exact = said and all(
        render_ollama(said, talk) == template.render(talk, add_generation_prompt=True).removeprefix(begins)
        for talk in sample_talks(template)
    )
    return said if exact else ""


def _ollama_template(template: ChatTemplate, begins: str) -> str:
    talk = [Message("user", "\x02"), Message("assistant", "\x03"), Message("user", "\x04")]
    alone = _around(template, talk, "\x02\x03\x04")
    if alone is None:
        return ""
    head, opening, closing, end = alone
    head = head.removeprefix(begins)
    if takes_system(template):
        told = _around(template, [Message("system", "\x01"), *talk], "\x01\x02\x03\x04")
        if told is None or told[2:] != alone[1:]:
            return ""
        before, behind = told[0].removeprefix(begins), told[1]
        head = f"{{{{ if .System }}}}{before}{{{{ .System }}}}{behind}{{{{ else }}}}{head}{{{{ end }}}}"
    return (
        f"{head}{{{{ range $i, $_ := .Messages }}}}{{{{ $last := eq (len (slice $.Messages $i)) 1 }}}}"
        f'{{{{ if eq .Role "user" }}}}{{{{ .Content }}}}{{{{ if $last }}}}{end}{{{{ end }}}}'
        f'{{{{ else if eq .Role "assistant" }}}}{opening}{{{{ .Content }}}}{{{{ if not $last }}}}{closing}{{{{ end }}}}'
        "{{ end }}{{ end }}"
    )


def _around(template: ChatTemplate, talk: Sequence[Message], marks: str) -> list[str] | None:
    """What the template puts around the marks, each of which is a message; None if that can't stand in a Modelfile."""
    try:
        text = template.render(talk, add_generation_prompt=True)
    except InputError:
        return None
    found = [char for char in text if char in marks]
    if found != list(marks) or "{{" in text or '"""' in text:
        return None
    return re.split(f"[{marks}]", text)


def render_ollama(template: str, messages: Sequence[Message]) -> str | None:
    """The prompt that Ollama makes of a talk; None where the template says more than is understood here.

    A template that names `.Messages` is rendered once. Any other is rendered for each turn, and where the last turn's
    `.Response` would be, the prompt ends.
    """
    try:
        nodes = parse(template)
        if mentions(nodes, "Messages"):
            return render(nodes, _values(Messages=_joined(messages), System=_system(messages)))
        parts, turn = [], _values(System="", Prompt="", Response="")
        for message in _joined(messages):
            done = {"system": turn["Prompt"] or turn["Response"], "user": turn["Response"]}.get(message["Role"])
            if done:
                parts.append(render(nodes, turn))
                turn = _values(System="", Prompt="", Response="")
            turn |= {{"system": "System", "user": "Prompt"}.get(message["Role"], "Response"): message["Content"]}
        return "".join([*parts, render(up_to(nodes, "Response")[0], turn)])
    except NotUnderstood:
        return None


def _values(**given: Any) -> dict[str, Any]:
    """With what a template may ask for that no talk here has."""
    return {"Tools": [], "Think": False, "IsThinkSet": False, "Response": "", "Prompt": "", "Suffix": "", **given}


def _joined(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Neighbours of one role are one message to Ollama."""
    joined: list[dict[str, Any]] = []
    for message in messages:
        if joined and joined[-1]["Role"] == message.role != "tool":
            joined[-1]["Content"] += "\n\n" + message.content
        else:
            joined.append({"Role": message.role, "Content": message.content, "ToolCalls": [], "Thinking": ""})
    return joined


def _system(messages: Sequence[Message]) -> str:
    return "\n\n".join(message.content for message in messages if message.role == "system")
