"""What a grammar can't say is checked when an answer is finished."""

from __future__ import annotations

import json
import math

import jsonschema_rs

from kitae.core.errors import BadConstraint, first_line
from kitae.generate.constraints.values import read_json


def first_problem(text: str, schema: str) -> str | None:
    """What is wrong with an answer by a schema, and where; None if nothing is. Every keyword and format counts here."""
    validator = _validator(schema)
    try:
        value = json.loads(text, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError) as error:
        return first_line(error)
    problem = next(iter(validator.iter_errors(value)), None)
    if problem is None:
        return None
    place = "".join(f"/{part}" for part in problem.instance_path)
    return f"{place}: {problem.message}" if place else problem.message


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no number that everybody can read")
    return number


def _validator(schema: str) -> jsonschema_rs.Validator:
    try:
        return jsonschema_rs.validator_for(read_json(schema), validate_formats=True, ignore_unknown_formats=False, offline=True)
    except (ValueError, jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError) as error:
        raise BadConstraint("constraint-schema", where="#", why=first_line(error)) from error
