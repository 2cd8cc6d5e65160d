"""A chat template in Ollama's language, and what a Modelfile says.

Of that language only what wraps turns is understood: text, `.System`, `.Prompt`, `.Response`, and `if`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from kitae.chat.conversation import Message
from kitae.chat.template import ChatTemplate
from kitae.core.errors import InputError

_ACTION = re.compile(r"\{\{(-?)\s*(.*?)\s*(-?)\}\}", re.DOTALL)
_COMMAND = re.compile(
    r'^\s*(FROM|TEMPLATE|PARAMETER)\s+(?:"""(.*?)"""|([^\n]*?))\s*$', re.IGNORECASE | re.DOTALL | re.MULTILINE
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


def ollama_template(template: ChatTemplate) -> str:
    """By asking the real one how it wraps each role.

    Empty if the template is not a plain sequence of wrapped turns; then Ollama's own reading of the GGUF has to do.
    """
    if "strftime_now" in template.source:  # it would say today's date for ever
        return ""
    system, user, answer = (Message(role, mark) for role, mark in (("system", "\x01"), ("user", "\x02"), ("assistant", "\x03")))
    try:
        whole = template.render((system, user, answer))
        prompt = template.render((system, user), add_generation_prompt=True)
    except InputError:  # one that knows no system message
        return ""
    if not whole.startswith(prompt) or any(whole.count(mark) != 1 for mark in "\x01\x02\x03"):
        return ""
    before, rest = whole.split("\x01")
    between, rest = rest.split("\x02")
    opening, closing = rest.split("\x03")
    if not closing or not template.render((user,)).endswith(f"{between.rpartition(closing)[2] or between}\x02{closing}"):
        return ""
    system_close = between[: between.index(closing) + len(closing)] if closing and closing in between else ""
    user_open = between[len(system_close) :]
    default = template.default_system()
    fallback = default.removesuffix(user_open) if default.endswith(user_open) else ""
    otherwise = f"{{{{ else }}}}{fallback}" if fallback else ""
    head = f"{{{{ if .System }}}}{before}{{{{ .System }}}}{system_close}{otherwise}{{{{ end }}}}"
    return f"{head}{user_open}{{{{ .Prompt }}}}{opening}{{{{ .Response }}}}{closing}"


def render_ollama(template: str, values: Mapping[str, str]) -> str | None:
    """What Ollama makes of one turn, up to the answer; None where the template says more than is understood here."""
    parts: list[str] = []
    shown = [True]  # for each `if` that is open
    position, trim = 0, False
    for match in _ACTION.finditer(template):
        text = template[position : match.start()]
        text = text.lstrip() if trim else text
        text = text.rstrip() if match.group(1) else text
        position, trim = match.end(), bool(match.group(3))
        if all(shown):
            parts.append(text)
        action = match.group(2)
        condition = re.fullmatch(r"if \.(\w+)", action)
        if condition and condition.group(1) in values:
            shown.append(bool(values[condition.group(1)]))
        elif action == "else" and len(shown) > 1:
            shown[-1] = not shown[-1]
        elif action == "end" and len(shown) > 1:
            shown.pop()
        elif action == ".Response":
            return "".join(parts)
        elif action.startswith(".") and action[1:] in values:
            if all(shown):
                parts.append(values[action[1:]])
        else:
            return None
    rest = template[position:]
    return "".join([*parts, rest.lstrip() if trim else rest])
