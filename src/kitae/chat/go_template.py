"""The part of Go's template language that chat templates for Ollama are written in.

Text, fields, variables, `if`, `range`, `with`, pipes, and the functions in `_FUNCTIONS`. Anything else raises `NotUnderstood`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_ACTION = re.compile(r"\{\{(-(?=\s))?\s*(.*?)\s*((?<=\s)-)?\}\}", re.DOTALL)
_TOKEN = re.compile(r'\s*("(?:[^"\\]|\\.)*"|`[^`]*`|\$\w*(?:\.\w+)*|\.\w+(?:\.\w+)*|-?\d+|\w+|:=|[().|,=])')
_SPACE = " \t\r\n"


class NotUnderstood(Exception):
    """The template says something that is not evaluated here."""


@dataclass(frozen=True)
class Pipeline:
    commands: tuple[tuple[Operand, ...], ...]
    names: tuple[str, ...] = ()  # the variables that its value is given to
    new: bool = False  # whether they are new ones


Operand = str | Pipeline  # a token, or what stands in brackets


@dataclass(frozen=True)
class Branch:
    kind: str  # if, range, with
    value: Pipeline
    body: Nodes
    otherwise: Nodes


Nodes = list["str | Pipeline | Branch"]


def parse(template: str) -> Nodes:
    items = list(_items(template))
    nodes, end = _nodes(items, 0)
    if end < len(items):
        raise NotUnderstood(items[end][1])
    return nodes


def _items(template: str) -> Iterator[tuple[str, str]]:
    """("text" or "action", what it says), with the white space around actions trimmed as they ask."""
    position, trim = 0, False
    for match in [*_ACTION.finditer(template), None]:
        text = template[position : match.start() if match else None]
        text = text.lstrip(_SPACE) if trim else text
        yield "text", text.rstrip(_SPACE) if match and match.group(1) else text
        if match:
            position, trim = match.end(), bool(match.group(3))
            if not match.group(2).startswith("/*"):
                yield "action", match.group(2)


def _nodes(items: Sequence[tuple[str, str]], at: int) -> tuple[Nodes, int]:
    """Up to the `else` or `end` that belongs to somebody else."""
    nodes: Nodes = []
    while at < len(items):
        kind, text = items[at]
        word = text.split(None, 1)[0] if text.strip() else ""
        if kind == "text":
            nodes += [text] if text else []
        elif word in ("else", "end"):
            break
        elif word in ("if", "range", "with"):
            branch, at = _branch(items, at, text)
            nodes.append(branch)
        else:
            nodes.append(_pipeline(text))
        at += 1
    return nodes, at


def _branch(items: Sequence[tuple[str, str]], at: int, text: str) -> tuple[Branch, int]:
    """With the place of its `end`."""
    kind, _, value = text.partition(" ")
    body, at = _nodes(items, at + 1)
    otherwise: Nodes = []
    if at < len(items) and items[at][1].startswith("else"):
        rest = items[at][1].removeprefix("else").strip()
        if rest:  # `else if` ends where the `if` ends
            branch, at = _branch(items, at, rest)
            return Branch(kind, _pipeline(value), body, [branch]), at
        otherwise, at = _nodes(items, at + 1)
    if at == len(items) or items[at][1] != "end":
        raise NotUnderstood(text)
    return Branch(kind, _pipeline(value), body, otherwise), at


def _pipeline(text: str) -> Pipeline:
    tokens, position = [], 0
    while text[position:].strip():
        match = _TOKEN.match(text, position)
        if match is None:
            raise NotUnderstood(text)
        tokens.append(match.group(1))
        position = match.end()
    names: list[str] = []
    new = ":=" in tokens
    if new or "=" in tokens:
        split = tokens.index(":=" if new else "=")
        names, tokens = [token for token in tokens[:split] if token != ","], tokens[split + 1 :]
        if not all(re.fullmatch(r"\$\w+", name) for name in names):
            raise NotUnderstood(text)
    pipeline, end = _commands(tokens, 0)
    if end < len(tokens):
        raise NotUnderstood(text)
    return Pipeline(pipeline.commands, tuple(names), new)


def _commands(tokens: Sequence[str], at: int) -> tuple[Pipeline, int]:
    commands: list[list[Operand]] = [[]]
    while at < len(tokens) and tokens[at] != ")":
        if tokens[at] == "|":
            commands.append([])
        elif tokens[at] == "(":
            inner, at = _commands(tokens, at + 1)
            commands[-1].append(inner)
        else:
            commands[-1].append(tokens[at])
        at += 1
    if not all(commands):
        raise NotUnderstood(" ".join(tokens))
    return Pipeline(tuple(tuple(command) for command in commands)), at


def mentions(value: Nodes | str | Pipeline | Branch, field: str) -> bool:
    """Whether a field is named anywhere in it."""
    if isinstance(value, list):
        return any(mentions(node, field) for node in value)
    if isinstance(value, Branch):
        return mentions(value.value, field) or mentions(value.body, field) or mentions(value.otherwise, field)
    if isinstance(value, Pipeline):
        operands = [operand for command in value.commands for operand in command]
        return any(mentions(o, field) if isinstance(o, Pipeline) else field in o.split(".")[1:] for o in operands)
    return False  # text


def up_to(nodes: Nodes, field: str) -> tuple[Nodes, bool]:
    """What stands before the first action that shows a field, and that action; whether there is one."""
    kept: Nodes = []
    for node in nodes:
        if isinstance(node, Branch):
            body, found = up_to(node.body, field)
            otherwise, also = ([], True) if found else up_to(node.otherwise, field)
            kept.append(Branch(node.kind, node.value, body, otherwise))
            found = found or also
        else:
            kept.append(node)
            found = isinstance(node, Pipeline) and mentions(node, field)
        if found:
            return kept, True
    return kept, False


def render(nodes: Nodes, values: Mapping[str, Any]) -> str:
    return _Rendering(values).nodes(nodes, values)


class _Rendering:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self.scopes: list[dict[str, Any]] = [{"$": root}]

    def nodes(self, nodes: Nodes, dot: Any) -> str:
        self.scopes.append({})
        text = "".join(self.node(node, dot) for node in nodes)
        self.scopes.pop()
        return text

    def node(self, node: str | Pipeline | Branch, dot: Any) -> str:
        if isinstance(node, str):
            return node
        if isinstance(node, Branch):
            return self.branch(node, dot)
        value = self.value(node, dot)
        if node.names:
            self.assign(node.names[0], value, node.new)
            return ""
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, (str, int)):
            return str(value)
        raise NotUnderstood(repr(node))

    def branch(self, branch: Branch, dot: Any) -> str:
        value = self.value(branch.value, dot)
        if branch.kind != "range":
            self.scopes.append({})
            if branch.value.names:
                self.assign(branch.value.names[0], value, branch.value.new)
            inner = value if branch.kind == "with" and value else dot
            text = self.nodes(branch.body if value else branch.otherwise, inner)
            self.scopes.pop()
            return text
        if not isinstance(value, list):
            raise NotUnderstood("range")
        parts = []
        for number, item in enumerate(value):
            given = (number, item) if len(branch.value.names) > 1 else (item,)
            self.scopes.append(dict(zip(branch.value.names, given, strict=False)))
            parts.append(self.nodes(branch.body, item))
            self.scopes.pop()
        return "".join(parts) if value else self.nodes(branch.otherwise, dot)

    def assign(self, name: str, value: Any, new: bool) -> None:
        scope = self.scopes[-1] if new else next((s for s in reversed(self.scopes) if name in s), None)
        if scope is None:
            raise NotUnderstood(name)
        scope[name] = value

    def value(self, pipeline: Pipeline, dot: Any) -> Any:
        """Each command gets the value of the one before it as its last argument."""
        before: list[Any] = []
        for head, *rest in pipeline.commands:
            arguments = [self.operand(operand, dot) for operand in rest]
            if isinstance(head, str) and head in _FUNCTIONS:
                before = [_call(head, [*arguments, *before])]
            elif rest or before:
                raise NotUnderstood(repr(head))
            else:
                before = [self.operand(head, dot)]
        return before[0]

    def operand(self, operand: Operand, dot: Any) -> Any:
        if isinstance(operand, Pipeline):
            return self.value(operand, dot)
        if operand[0] == "`":
            return operand[1:-1]
        if operand[0] == '"':
            return re.sub(r"\\(.)", lambda m: {"n": "\n", "t": "\t"}.get(m.group(1), m.group(1)), operand[1:-1])
        if re.fullmatch(r"-?\d+", operand):
            return int(operand)
        if operand in ("true", "false"):
            return operand == "true"
        name, *fields = operand.split(".")
        value = dot
        if name:
            value = next((scope[name] for scope in reversed(self.scopes) if name in scope), None)
            if value is None:
                raise NotUnderstood(operand)
        for field in fields:
            if field and (not isinstance(value, Mapping) or field not in value):
                raise NotUnderstood(operand)
            value = value[field] if field else value
        return value


def _call(name: str, arguments: list[Any]) -> Any:
    try:
        return _FUNCTIONS[name](*arguments)
    except (TypeError, IndexError) as error:
        raise NotUnderstood(name) from error


def _and(*values: Any) -> Any:
    return next((value for value in values if not value), values[-1])


def _or(*values: Any) -> Any:
    return next((value for value in values if value), values[-1])


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "and": _and,
    "or": _or,
    "not": lambda value: not value,
    "eq": lambda first, *others: any(first == other for other in others),
    "ne": lambda first, second: first != second,
    "lt": lambda first, second: first < second,
    "le": lambda first, second: first <= second,
    "gt": lambda first, second: first > second,
    "ge": lambda first, second: first >= second,
    "len": len,
    "index": lambda values, place: values[place],
    "slice": lambda values, *bounds: values[slice(*bounds) if len(bounds) > 1 else slice(bounds[0], None)],
}
