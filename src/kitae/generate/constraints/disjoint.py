"""What follows from several parts of a schema together: which of them can't both hold, and which never end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import combinations
from typing import Any

from kitae.core.errors import BadConstraint

_SCALARS = {"null", "boolean", "integer", "number", "string"}
_MOST_COMPARED = 150  # of which each is compared with every other
_FAR = 5  # properties within properties, in which a difference is looked for
_ALL = _SCALARS | {"array", "object"}


def without_one_of(schema: dict[str, Any], places: Mapping[str, str]) -> dict[str, Any]:
    """With anyOf in place of oneOf, where it says the same because no two of them can hold.

    `places`: where the definitions came from."""
    definitions = schema["$defs"]
    made: dict[str, Any] = _excluding({key: value for key, value in schema.items() if key != "$defs"}, definitions, "#")
    return made | {"$defs": {name: _excluding(each, definitions, places[name]) for name, each in definitions.items()}}


def _excluding(schema: Any, definitions: Mapping[str, Any], where: str) -> Any:
    if isinstance(schema, list):
        return [_excluding(each, definitions, f"{where}/{number}") for number, each in enumerate(schema)]
    if not isinstance(schema, dict):
        return schema
    made: dict[str, Any] = {}
    for keyword, value in schema.items():
        place = f"{where}/{keyword}"
        if keyword in ("const", "enum"):
            made[keyword] = value
        elif keyword in ("properties", "patternProperties"):
            made[keyword] = {name: _excluding(each, definitions, f"{place}/{name}") for name, each in value.items()}
        elif keyword != "oneOf":
            made[keyword] = _excluding(value, definitions, place)
        else:
            if not _all_exclude(value, definitions):
                raise BadConstraint("constraint-keyword", where=where, why="oneOf: two of them may hold", keyword="oneOf")
            made["allOf"] = [*made.get("allOf", []), {"anyOf": _excluding(value, definitions, place)}]
    return made


def _all_exclude(options: list[Any], definitions: Mapping[str, Any]) -> bool:
    values = [_values(option) if isinstance(option, dict) else None for option in options]
    if all(each is not None for each in values):
        return len(set().union(*filter(None, values))) == sum(map(len, filter(None, values)))
    return len(options) <= _MOST_COMPARED and all(_exclude(one, other, definitions) for one, other in combinations(options, 2))


def _exclude(one: Any, other: Any, definitions: Mapping[str, Any], depth: int = 0) -> bool:
    one, other = _resolved(one, definitions), _resolved(other, definitions)
    if one is False or other is False:
        return True
    if depth > _FAR or not isinstance(one, dict) or not isinstance(other, dict):
        return False
    values, others = _values(one), _values(other)
    if values is not None and others is not None and not values & others:
        return True
    common = _types(one) & _types(other)
    if not common:
        return True
    if common != {"object"}:
        return False
    required = {*one.get("required", ()), *other.get("required", ())}
    properties, others_properties = one.get("properties", {}), other.get("properties", {})
    return any(
        _exclude(properties[name], others_properties[name], definitions, depth + 1)
        for name in required & set(properties) & set(others_properties)
    )


def _values(schema: dict[str, Any]) -> set[str] | None:
    """The values that it names, if they are simple ones."""
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if values is None or any(isinstance(value, (dict, list)) for value in values):
        return None
    return {f"number {float(value)}" if type(value) in (int, float) else json.dumps(value) for value in values}


def _types(schema: dict[str, Any]) -> set[str]:
    named = schema.get("type", list(_ALL))
    types = {named} if isinstance(named, str) else set(named)
    return types | {"integer"} if "number" in types else types


def _resolved(schema: Any, definitions: Mapping[str, Any]) -> Any:
    for _ in definitions:
        if not isinstance(schema, dict) or set(schema) != {"$ref"}:
            break
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    return schema


def endless(root: Any, definitions: Mapping[str, Any]) -> str | None:
    """A definition whose values would have to hold themselves, or which says no more than that it is itself; an empty text if
    it is the outermost schema."""
    beside = {name: _beside(schema) for name, schema in definitions.items()}
    for name in definitions:
        reached: set[str] = set()
        waiting = set(beside[name])
        while waiting:
            reached |= waiting
            waiting = set().union(*(beside[each] for each in waiting)) - reached
        if name in reached:
            return name
    finite: set[str] = set()
    while more := {name for name, schema in definitions.items() if name not in finite and _ends(schema, finite)}:
        finite |= more
    lacking = [name for name in definitions if name not in finite]
    return lacking[0] if lacking else None if _ends(root, finite) else ""


def _beside(schema: Any) -> set[str]:
    """The definitions that hold for the same value, and not for one within it."""
    if not isinstance(schema, dict):
        return set()
    inner = [_beside(each) for keyword in ("anyOf", "oneOf", "allOf") for each in schema.get(keyword, ())]
    return set().union(*inner, {schema["$ref"].rpartition("/")[2]} if "$ref" in schema else ())


def _ends(schema: Any, finite: set[str]) -> bool:
    if not isinstance(schema, dict):
        return True
    if "$ref" in schema and schema["$ref"].rpartition("/")[2] not in finite:
        return False
    if not all(_ends(each, finite) for each in schema.get("allOf", ())):
        return False
    if any(key in schema and not any(_ends(each, finite) for each in schema[key]) for key in ("anyOf", "oneOf")):
        return False
    types = _types(schema)
    return bool(
        types & _SCALARS
        or (
            "object" in types
            and all(_ends(schema.get("properties", {}).get(name), finite) for name in schema.get("required", ()))
        )
        or ("array" in types and all(_ends(each, finite) for each in _needed(schema)))
    )


def _needed(schema: dict[str, Any]) -> list[Any]:
    count, first = schema.get("minItems", 0), schema.get("prefixItems", [])
    return [*first[:count], *([schema.get("items")] if count > len(first) else [])]
