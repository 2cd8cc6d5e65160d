"""Which JSON Schemas can be enforced. A schema comes out with nothing in it but what llguidance keeps to, or not at all.

llguidance leaves out words that it doesn't know, and reads some values approximately; it also takes options from a schema. So
supported.json names what may be said (tests/generate/constraints hold it against a suite of schemas), and everything that passes
is written anew: patterns in a syntax without two readings, references to schemas that were looked at, no options.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from kitae.core.errors import BadConstraint
from kitae.generate.constraints.disjoint import endless, without_one_of
from kitae.generate.constraints.expressions import BadExpression, portable

Json = Any  # what json.loads gives
_DEEPEST = 60
_MOST_SCHEMAS = 20_000
_HIGHEST_COUNT = 100_000
_LARGEST_STEP = 2**31
_EXACT = 2**53  # beyond it, numbers that differ become the same in floating point
_TYPES = {"null", "boolean", "integer", "number", "string", "array", "object"}
_DEFAULT_DRAFT = "https://json-schema.org/draft/2020-12/schema"


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


def enforceable(text: str) -> Json:
    """A schema that llguidance keeps to, from what a user wrote."""
    root = read_json(text)
    reader = _Reader(root)
    schema = reader.outermost()
    definitions = reader.definitions()
    if (name := endless(schema, definitions)) is not None:
        raise BadConstraint("constraint-endless", where=reader.place(name))
    if isinstance(schema, bool):
        return {"allOf": [schema]}  # llguidance's options need an object to lie in
    whole = {**schema, "$defs": definitions}
    places = {name: reader.place(name) for name in definitions}
    return without_one_of(whole, places)


def _wrong(where: str, keyword: str, why: str) -> BadConstraint:
    return BadConstraint("constraint-value", where=where, why=why, keyword=keyword)


class _Reader:
    def __init__(self, root: Json) -> None:
        self._tuples = False
        self._root = self._without_head(root) if isinstance(root, dict) else root
        self._targets: dict[str, str] = {}  # what is referred to, and its name among the definitions
        self._waiting: list[str] = []
        self._steps: set[Decimal] = set()
        self._seen = 0
        self._shapes: dict[str, Callable[[str, Json, str], Json]] = {
            "reference": self._reference,
            "schema": lambda _, value, where: self.schema(value, where),
            "schemas": self._schemas,
            "properties": self._properties,
            "patterns": self._patterns,
            "constant": _constant,
            "constants": self._constants,
            "number": _number,
            "step": self._step,
            "count": _count,
            "pattern": _pattern,
            "format": _format,
            "names": _names,
            "types": _type_names,
        }

    def outermost(self) -> Json:
        return self.schema(self._root, "#")

    def place(self, name: str) -> str:
        """Where the user wrote what is among the definitions under this name."""
        return next((target for target, given in self._targets.items() if given == name), "#")

    def schema(self, schema: Json, where: str) -> Json:
        self._seen += 1
        if where.count("/") > 2 * _DEEPEST or self._seen > _MOST_SCHEMAS:
            raise BadConstraint("constraint-size", where=where[:200])
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, dict):
            raise _wrong(where, "schema", json.dumps(schema)[:80])
        if self._tuples:
            schema = _with_prefixes(schema)
        table, made = supported(), {}
        for keyword, value in schema.items():
            if keyword in table["annotations"] or keyword in table["definitions"] or keyword.startswith("x-"):
                continue
            if keyword == "uniqueItems" and value is False:
                continue
            shape = table["keywords"].get(keyword)
            if shape is None:
                raise BadConstraint("constraint-keyword", where=where, why=keyword, keyword=keyword)
            made[keyword] = self._shapes[shape](keyword, value, f"{where}/{_spelled(keyword)}")
        _check_together(made, where)
        return _with_format_as_pattern(made)

    def definitions(self) -> dict[str, Json]:
        """Every schema that is referred to, and that those refer to."""
        made: dict[str, Json] = {}
        while self._waiting:
            target = self._waiting.pop()
            made[self._targets[target]] = self.schema(_at(self._root, target), target)
        return made

    def _without_head(self, schema: dict[str, Json]) -> dict[str, Json]:
        """What only the outermost schema may say."""
        draft = schema.get("$schema", _DEFAULT_DRAFT)
        kind = supported()["drafts"].get(draft.rstrip("#")) if isinstance(draft, str) else None
        if kind is None:
            raise _wrong("#", "$schema", str(draft)[:80])
        self._tuples = kind == "tuples"
        return {keyword: value for keyword, value in schema.items() if keyword not in ("$schema", "$id")}

    def _reference(self, keyword: str, value: Json, where: str) -> str:
        target = unquote(value) if isinstance(value, str) else ""
        if target != "#" and not target.startswith("#/"):
            raise _wrong(where, keyword, f"{str(value)[:80]}: only # and #/… are followed")
        _at(self._root, target, where)
        if target not in self._targets:
            self._targets[target] = f"d{len(self._targets)}"
            self._waiting.append(target)
        return f"#/$defs/{self._targets[target]}"

    def _schemas(self, keyword: str, value: Json, where: str) -> Json:
        if not isinstance(value, list) or not value:
            raise _wrong(where, keyword, "not a list of schemas")
        return [self.schema(each, f"{where}/{number}") for number, each in enumerate(value)]

    def _properties(self, keyword: str, value: Json, where: str) -> Json:
        if not isinstance(value, dict):
            raise _wrong(where, keyword, "not an object")
        return {_writable(keyword, name, where): self.schema(each, f"{where}/{_spelled(name)}") for name, each in value.items()}

    def _patterns(self, keyword: str, value: Json, where: str) -> Json:
        schemas = self._properties(keyword, value, where)
        made = {_pattern(keyword, name, where): each for name, each in schemas.items()}
        if len(made) != len(value):
            raise _wrong(where, keyword, "two patterns are the same")
        return made

    def _constants(self, keyword: str, value: Json, where: str) -> Json:
        if not isinstance(value, list):
            raise _wrong(where, keyword, "not a list")
        return [_constant(keyword, each, f"{where}/{number}") for number, each in enumerate(value)]

    def _step(self, keyword: str, value: Json, where: str) -> Json:
        """llguidance looks for a common multiple where several apply, in numbers of 32 bits."""
        step = _number(keyword, value, where)
        if step <= 0:
            raise _wrong(where, keyword, str(step))
        self._steps.add(Decimal(str(step)))
        digits = max(0, *(-int(each.as_tuple().exponent) for each in self._steps))
        if math.prod(int(each.scaleb(digits)) for each in self._steps) > _LARGEST_STEP:
            raise _wrong(where, keyword, f"{step}: too large or too exact")
        return step


def _with_prefixes(schema: dict[str, Json]) -> dict[str, Json]:
    """A tuple of drafts before 2020-12 as today's draft says it."""
    if "prefixItems" in schema:
        raise BadConstraint("constraint-keyword", where="$schema", why="prefixItems", keyword="prefixItems")
    if isinstance(schema.get("items"), list):
        names = {"items": "prefixItems", "additionalItems": "items"}
        renamed = {names.get(keyword, keyword): value for keyword, value in schema.items()}
        return {keyword: value for keyword, value in renamed.items() if value != [] or keyword != "prefixItems"}
    return {keyword: value for keyword, value in schema.items() if keyword != "additionalItems"}  # which says nothing then


def _at(root: Json, target: str, where: str = "") -> Json:
    """What a JSON pointer leads to."""
    value = root
    for part in target.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, list) and key.isdecimal() and len(key) < 9 and int(key) < len(value):
            value = value[int(key)]
        elif isinstance(value, dict) and key in value:
            value = value[key]
        else:
            raise _wrong(where, "$ref", f"{target[:80]}: there is no such place")
    return value


def _spelled(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _writable(keyword: str, text: Json, where: str) -> str:
    """Texts with control characters can't be written: they would need \\u, and then any text could be spelled in many ways."""
    if not isinstance(text, str) or any(ord(letter) < 32 and letter not in "\n\r\t\b\f" for letter in text):
        raise _wrong(where, keyword, json.dumps(text)[:80])
    return text


def _constant(keyword: str, value: Json, where: str) -> Json:
    for each in _leaves(value):
        if isinstance(each, str):
            _writable(keyword, each, where)
        elif isinstance(each, (int, float)) and not isinstance(each, bool):
            _number(keyword, each, where)
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


def _number(keyword: str, value: Json, where: str) -> Json:
    """One that is the same for every reader."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _wrong(where, keyword, json.dumps(value)[:80])
    if not abs(value) <= _EXACT or "e" in repr(value) or len(repr(value).replace("-", "").replace(".", "")) > 16:
        raise _wrong(where, keyword, f"{str(value)[:80]}: too large or too exact")
    return int(value) if float(value).is_integer() else value


def _count(keyword: str, value: Json, where: str) -> Json:
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _HIGHEST_COUNT:
        raise _wrong(where, keyword, f"{json.dumps(value)[:80]}: not a whole number from 0 to {_HIGHEST_COUNT}")
    return value


def _pattern(keyword: str, value: Json, where: str) -> Json:
    if not isinstance(value, str):
        raise _wrong(where, keyword, json.dumps(value)[:80])
    try:
        return portable(value)
    except BadExpression as error:
        raise _wrong(where, keyword, f"{value[:80]}: {error}") from error


def _format(keyword: str, value: Json, where: str) -> Json:
    if not isinstance(value, str) or value not in supported()["formats"]:
        raise _wrong(where, keyword, json.dumps(value)[:80])
    return value


def _with_format_as_pattern(schema: dict[str, Json]) -> dict[str, Json]:
    """Where llguidance takes more for a format than the standard does, the table has an expression for it."""
    pattern = supported()["formats"].get(schema.get("format"))
    if pattern is None:
        return schema
    rest = {keyword: value for keyword, value in schema.items() if keyword != "format"}
    return {**rest, "allOf": [*rest.get("allOf", []), {"pattern": portable(pattern)}]}


def _names(keyword: str, value: Json, where: str) -> Json:
    if not isinstance(value, list):
        raise _wrong(where, keyword, "not a list of names")
    return list(dict.fromkeys([_writable(keyword, name, where) for name in value]))


def _type_names(keyword: str, value: Json, where: str) -> Json:
    names = value if isinstance(value, list) else [value]
    if not names or not all(isinstance(name, str) and name in _TYPES for name in names):
        raise _wrong(where, keyword, json.dumps(value)[:80])
    return value


def _check_together(schema: dict[str, Json], where: str) -> None:
    """Keys that aren't named may come twice in an answer, so that more of them can't be counted than one."""
    if schema.get("minProperties", 0) - len(schema.get("required", [])) > 1:
        raise _wrong(f"{where}/minProperties", "minProperties", "more than one beside those that are required")
