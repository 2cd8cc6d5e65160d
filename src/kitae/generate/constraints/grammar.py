"""What a user asks for, in the form that llguidance compiles."""

from __future__ import annotations

import json
import re

from llguidance import LLMatcher

from kitae.core.errors import BadConstraint
from kitae.generate.constraints.constraint import Constraint
from kitae.generate.constraints.expressions import BadExpression, escaped, portable
from kitae.generate.constraints.gbnf import BadGrammar, as_lark
from kitae.generate.constraints.schema import enforceable
from kitae.generate.constraints.trial import survives
from kitae.generate.constraints.values import Json, read_json

_LONGEST = 1 << 20  # characters
_OPTIONS = {
    # Between two parts of JSON a space or an indented line: models that may write any space sometimes write nothing else.
    "whitespace_pattern": r" |\n {0,40}",
    "json_allowed_escapes": 'nrbtf\\"',  # without \u every text has one spelling, so that no key passes for another one
}


def source(constraint: Constraint) -> str:
    """llguidance's form of a constraint; what it doesn't keep to is refused."""
    if len(constraint.text) > _LONGEST:
        raise BadConstraint("constraint-size", where=constraint.kind)
    try:
        return _source(constraint)
    except (BadExpression, BadGrammar) as error:
        raise BadConstraint("constraint-grammar", where=constraint.kind, why=str(error)) from error


def _source(constraint: Constraint) -> str:
    kind, text = constraint.kind, constraint.text
    if kind == "json":
        return _from_schema({"type": "object"})
    if kind == "json_schema":
        return _from_schema(enforceable(text))
    if kind == "regex":
        return str(LLMatcher.grammar_from_regex(portable(text, whole=True)))
    if kind == "choice":
        return str(LLMatcher.grammar_from_regex("|".join(f"(?:{''.join(map(escaped, each))})" for each in _choices(text))))
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadGrammar(str(error)) from error
    grammar = str(LLMatcher.grammar_from_lark(as_lark(text) if kind == "gbnf" else _with_schemas_checked(text)))
    survives(grammar, kind)
    return grammar


def _from_schema(schema: Json) -> str:
    try:
        return str(LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=_OPTIONS))  # type: ignore[arg-type]
    except ValueError as error:
        raise BadConstraint("constraint-schema", where="#", why=str(error)[:300]) from error


def _choices(text: str) -> list[str]:
    choices = read_json(text, "choice")
    if not isinstance(choices, list) or not choices or not all(isinstance(each, str) and each for each in choices):
        raise BadConstraint("constraint-grammar", where="choice", why=text[:80])
    return choices


def _with_schemas_checked(grammar: str) -> str:
    """A Lark grammar may hold schemas. They are read as if they stood alone."""
    parts, at = [], 0
    for begin in re.finditer(r"%json\b\s*", grammar):
        if begin.start() < at:
            continue
        try:
            _, end = json.JSONDecoder().raw_decode(grammar, begin.end())
        except (ValueError, RecursionError) as error:
            line = grammar.count("\n", 0, begin.start()) + 1
            raise BadGrammar(f"line {line}: %json without a schema") from error
        schema = enforceable(grammar[begin.end() : end])
        parts += [grammar[at : begin.start()], "%json ", json.dumps({**schema, "x-guidance": _OPTIONS})]
        at = end
    return "".join([*parts, grammar[at:]])
