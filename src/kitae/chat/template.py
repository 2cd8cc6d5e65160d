"""A model's own chat template, in a sandbox, rendered to text."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from jinja2 import Template, TemplateError, TemplateSyntaxError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from kitae.chat.conversation import Message
from kitae.core.errors import BadTemplate, InputError


class _Generation(Extension):
    """Some templates mark answers with `{% generation %}`. Kitae's masks don't need the mark, so its body is just rendered."""

    tags = {"generation"}  # noqa: RUF012 - as the parent class declares it

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body).set_lineno(line)


def _refuse(message: str) -> None:
    raise TemplateError(message)


def _tojson(value: object, ensure_ascii: bool = False, indent: int | None = None, **_: object) -> str:
    import json

    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)


@lru_cache(maxsize=64)
def _compile(source: str) -> Template:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    environment.filters["tojson"] = _tojson
    return environment.from_string(source)


class ChatTemplate:
    """`render` turns messages into text; `closing` is what the template puts after an answer."""

    def __init__(self, source: str, special_tokens: dict[str, str], origin: str = "") -> None:
        try:
            _compile(source)
        except TemplateSyntaxError as error:
            raise InputError("template-syntax", where=f"{origin}:{error.lineno}", why=str(error.message)) from error
        self.source = source
        self.origin = origin
        self.special_tokens = special_tokens
        self._closing: str | None = None

    def render(self, messages: Sequence[Message], add_generation_prompt: bool = False, **variables: Any) -> str:
        try:
            return _compile(self.source).render(
                messages=[m.as_dict() for m in messages],
                add_generation_prompt=add_generation_prompt,
                **self.special_tokens,
                **variables,
            )
        except (TemplateError, TypeError, AttributeError, KeyError, ValueError) as error:
            raise BadTemplate("template", where=self.origin, why=f"{type(error).__name__}: {error}") from error

    @property
    def thinks(self) -> bool:
        """Whether it knows that a model may think before it answers, and can be told not to."""
        return "enable_thinking" in self.source

    @property
    def closing(self) -> str:
        """The text behind an answer: what renderings of two answers that share no character have in common at the end."""
        if self._closing is None:
            first, second = (self.render((Message("user", "?"), Message("assistant", answer))) for answer in ("0", "x"))
            self._closing = _common_suffix(first, second)
        return self._closing

    def default_system(self) -> str:
        """What the template says before the first user message when nobody wrote a system message."""
        text = self.render((Message("user", "\x00"),))
        return text[: text.index("\x00")]


def _common_suffix(first: str, second: str) -> str:
    length = 0
    while length < min(len(first), len(second)) and first[-1 - length] == second[-1 - length]:
        length += 1
    return first[len(first) - length :]
