"""What the command line says an answer has to be."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from kitae.core.errors import InputError
from kitae.core.files import read_text
from kitae.generate import Constraint

_LARGEST = 100.0  # of a bias, as everywhere: enough to ban a token, or to say nothing else


def constraint_of(
    json_schema: Path | None, json_object: bool, regex: str | None, grammar: Path | None, choice: Sequence[str] | None
) -> Constraint | None:
    found = []
    if json_schema is not None:
        found.append(Constraint("json_schema", read_text(json_schema)))
    if json_object:
        found.append(Constraint("json"))
    if regex is not None:
        found.append(Constraint("regex", regex))
    if grammar is not None:
        found.append(Constraint("gbnf" if grammar.suffix == ".gbnf" else "lark", read_text(grammar)))
    if choice:
        found.append(Constraint("choice", json.dumps(choice, ensure_ascii=False)))
    if len(found) > 1:
        raise InputError("constraint-one", where=", ".join(constraint.kind for constraint in found))
    return found[0] if found else None


def biases(texts: Sequence[str]) -> tuple[tuple[int, float], ...]:
    found = []
    for text in texts:
        token, _, value = text.partition("=")
        try:
            number = float(value)
            if not abs(number) <= _LARGEST:
                raise ValueError(value)
            found.append((int(token), number))
        except ValueError as error:
            raise InputError("bias", where=text) from error
    return tuple(found)
