"""Values within a JSON Schema: those that every reader takes for the same, and that llguidance keeps to exactly."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from kitae.core.errors import BadConstraint
from kitae.generate.constraints.expressions import BadExpression, portable

Json = Any  # what json.loads gives
_DEEPEST = 60
_HIGHEST_COUNT = 100_000
_EXACT = 2**53  # beyond it, numbers that differ become the same in floating point
_TYPES = {"null", "boolean", "integer", "number", "string", "array", "object"}


@lru_cache(maxsize=1)
def supported() -> dict[str, Any]:
    """The table of what can be enforced."""
    table: dict[str, Any] = json.loads(Path(__file__).with_name("supported.json").read_text(encoding="utf-8"))
    return table


def read_json(text: str, where: str = "") -> Json:
    """JSON without anything that parsers disagree about."""
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number)
        text.encode("utf-8")
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise BadConstraint("constraint-json", where=where, why=str(error)[:300] or "nested too deeply") from error
    return value


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError(f"a key stands twice in one object: {[key for key, _ in pairs]}")
    return made


def _no_number(text: str) -> Json:
    raise ValueError(text)


def wrong(where: str, keyword: str, why: str) -> BadConstraint:
    return BadConstraint("constraint-value", where=where, why=why, keyword=keyword)


def writable(keyword: str, text: Json, where: str) -> str:
    """Texts with control characters can't be written: they would need \\u, and then any text could be spelled in many ways."""
    if not isinstance(text, str) or any(ord(letter) < 32 and letter not in "\n\r\t\b\f" for letter in text):
        raise wrong(where, keyword, json.dumps(text)[:80])
    return text


def constant(keyword: str, value: Json, where: str) -> Json:
    for each in _leaves(value):
        if isinstance(each, str):
            writable(keyword, each, where)
        elif isinstance(each, (int, float)) and not isinstance(each, bool):
            number(keyword, each, where)
    return value


def _leaves(value: Json) -> Iterator[Json]:
    """Without recursion: a value may be deeper than a call stack."""
    waiting = [(value, 0)]
    while waiting:
        each, depth = waiting.pop()
        if depth > _DEEPEST:
            raise BadConstraint("constraint-size", where="const")
        if isinstance(each, dict):
            yield from each
        if isinstance(each, (dict, list)):
            waiting += [(inner, depth + 1) for inner in (each.values() if isinstance(each, dict) else each)]
        else:
            yield each


def number(keyword: str, value: Json, where: str) -> Json:
    """One that is the same for every reader."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise wrong(where, keyword, json.dumps(value)[:80])
    if not abs(value) <= _EXACT or "e" in repr(value) or len(repr(value).replace("-", "").replace(".", "")) > 16:
        raise wrong(where, keyword, f"{str(value)[:80]}: too large or too exact")
    return int(value) if float(value).is_integer() else value


def count(keyword: str, value: Json, where: str) -> Json:
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _HIGHEST_COUNT:
        raise wrong(where, keyword, f"{json.dumps(value)[:80]}: not a whole number from 0 to {_HIGHEST_COUNT}")
    return value


def pattern(keyword: str, value: Json, where: str) -> Json:
    if not isinstance(value, str):
        raise wrong(where, keyword, json.dumps(value)[:80])
    try:
        return portable(value)
    except BadExpression as error:
        raise wrong(where, keyword, f"{value[:80]}: {error}") from error


def known_format(keyword: str, value: Json, where: str) -> Json:
    if not isinstance(value, str) or value not in supported()["formats"]:
        raise wrong(where, keyword, json.dumps(value)[:80])
    return value


def names(keyword: str, value: Json, where: str) -> Json:
    if not isinstance(value, list):
        raise wrong(where, keyword, "not a list of names")
    return list(dict.fromkeys([writable(keyword, name, where) for name in value]))


def type_names(keyword: str, value: Json, where: str) -> Json:
    names = value if isinstance(value, list) else [value]
    if not names or not all(isinstance(name, str) and name in _TYPES for name in names):
        raise wrong(where, keyword, json.dumps(value)[:80])
    return value
