"""Which JSON Schemas can be enforced. A schema comes out with nothing in it but what llguidance keeps to, or not at all.

llguidance leaves out words that it doesn't know, reads some values approximately, and takes options from a schema. So
supported.json names what may be said (tests hold it against the official suite), and everything that passes is written anew:
patterns in a syntax without two readings, references to schemas that were looked at, no options.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from decimal import Decimal
from urllib.parse import unquote

from kitae.core.errors import BadConstraint
from kitae.generate.constraints.disjoint import endless, without_one_of
from kitae.generate.constraints.expressions import portable
from kitae.generate.constraints.values import (
    Json,
    constant,
    count,
    known_format,
    names,
    number,
    pattern,
    read_json,
    supported,
    type_names,
    writable,
    wrong,
)

_DEEPEST = 60
_MOST_SCHEMAS = 20_000
_MOST_WHERE_COUNTED = 200  # schemas; a grammar for a number of properties grows with the square of how many there are
_MOST_PATTERNS_JOINED = 4  # what llguidance needs to know whether anything fits them all grows exponentially
_LARGEST_STEP = 2**31
_DEFAULT_DRAFT = "https://json-schema.org/draft/2020-12/schema"


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


class _Reader:
    def __init__(self, root: Json) -> None:
        self._tuples = False
        self._root = self._without_head(root) if isinstance(root, dict) else root
        self._targets: dict[str, str] = {}  # what is referred to, and its name among the definitions
        self._waiting: list[str] = []
        self._steps: set[Decimal] = set()
        self._counts_properties = ""  # where
        self._joins = ""  # where several schemas hold at a time, so that their patterns may meet
        self._patterns_seen: set[str] = set()
        self._seen = 0
        self._shapes: dict[str, Callable[[str, Json, str], Json]] = {
            "reference": self._reference,
            "schema": lambda _, value, where: self.schema(value, where),
            "schemas": self._schemas,
            "properties": self._properties,
            "patterns": self._patterns,
            "constant": constant,
            "constants": self._constants,
            "number": number,
            "step": self._step,
            "count": count,
            "pattern": pattern,
            "format": known_format,
            "names": names,
            "types": type_names,
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
            raise wrong(where, "schema", json.dumps(schema)[:80])
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
        if "minProperties" in made or "maxProperties" in made:
            self._counts_properties = where
        if len(made.get("allOf", ())) > 1 or ({"allOf", "$ref"} & set(made) and len(made) > 1):
            self._joins = where
        self._patterns_seen |= {made["pattern"]} if "pattern" in made else {made["format"]} if "format" in made else set()
        return _with_format_as_pattern(made)

    def definitions(self) -> dict[str, Json]:
        """Every schema that is referred to, and that those refer to."""
        made: dict[str, Json] = {}
        while self._waiting:
            target = self._waiting.pop()
            made[self._targets[target]] = self.schema(_at(self._root, target), target)
        if self._joins and len(self._patterns_seen) > _MOST_PATTERNS_JOINED:
            raise BadConstraint("constraint-size", where=self._joins)
        if self._counts_properties and self._seen > _MOST_WHERE_COUNTED:
            raise BadConstraint("constraint-size", where=self._counts_properties)
        return made

    def _without_head(self, schema: dict[str, Json]) -> dict[str, Json]:
        """What only the outermost schema may say."""
        draft = schema.get("$schema", _DEFAULT_DRAFT)
        kind = supported()["drafts"].get(draft.rstrip("#")) if isinstance(draft, str) else None
        if kind is None:
            raise wrong("#", "$schema", str(draft)[:80])
        self._tuples = kind == "tuples"
        return {keyword: value for keyword, value in schema.items() if keyword not in ("$schema", "$id")}

    def _reference(self, keyword: str, value: Json, where: str) -> str:
        target = unquote(value) if isinstance(value, str) else ""
        if target != "#" and not target.startswith("#/"):
            raise wrong(where, keyword, f"{str(value)[:80]}: only # and #/… are followed")
        _at(self._root, target, where)
        if target not in self._targets:
            self._targets[target] = f"d{len(self._targets)}"
            self._waiting.append(target)
        return f"#/$defs/{self._targets[target]}"

    def _schemas(self, keyword: str, value: Json, where: str) -> Json:
        if not isinstance(value, list) or not value:
            raise wrong(where, keyword, "not a list of schemas")
        return [self.schema(each, f"{where}/{number}") for number, each in enumerate(value)]

    def _properties(self, keyword: str, value: Json, where: str) -> Json:
        if not isinstance(value, dict):
            raise wrong(where, keyword, "not an object")
        return {writable(keyword, name, where): self.schema(each, f"{where}/{_spelled(name)}") for name, each in value.items()}

    def _patterns(self, keyword: str, value: Json, where: str) -> Json:
        schemas = self._properties(keyword, value, where)
        made = {pattern(keyword, name, where): each for name, each in schemas.items()}
        if len(made) != len(value):
            raise wrong(where, keyword, "two patterns are the same")
        return made

    def _constants(self, keyword: str, value: Json, where: str) -> Json:
        if not isinstance(value, list):
            raise wrong(where, keyword, "not a list")
        return [constant(keyword, each, f"{where}/{number}") for number, each in enumerate(value)]

    def _step(self, keyword: str, value: Json, where: str) -> Json:
        """llguidance looks for a common multiple where several apply, in numbers of 32 bits."""
        step = number(keyword, value, where)
        if step <= 0:
            raise wrong(where, keyword, str(step))
        self._steps.add(Decimal(str(step)))
        digits = max(0, *(-int(each.as_tuple().exponent) for each in self._steps))
        if math.prod(int(each.scaleb(digits)) for each in self._steps) > _LARGEST_STEP:
            raise wrong(where, keyword, f"{step}: too large or too exact")
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
            raise wrong(where, "$ref", f"{target[:80]}: there is no such place")
    return value


def _spelled(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _with_format_as_pattern(schema: dict[str, Json]) -> dict[str, Json]:
    """Where llguidance takes more for a format than the standard does, the table has an expression for it."""
    pattern = supported()["formats"].get(schema.get("format"))
    if pattern is None:
        return schema
    rest = {keyword: value for keyword, value in schema.items() if keyword != "format"}
    return {**rest, "allOf": [*rest.get("allOf", []), {"pattern": portable(pattern)}]}


def _check_together(schema: dict[str, Json], where: str) -> None:
    """Keys that aren't named may come twice in an answer, so that more of them can't be counted than one."""
    if schema.get("minProperties", 0) - len(schema.get("required", [])) > 1:
        raise wrong(f"{where}/minProperties", "minProperties", "more than one beside those that are required")
