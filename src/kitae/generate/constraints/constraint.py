"""What an answer must be, as a user asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["json_schema", "json", "regex", "lark", "gbnf", "choice"]


@dataclass(frozen=True)
class Constraint:
    kind: Kind
    text: str = ""  # the schema as JSON text, the expression, the grammar; a choice: a JSON list of strings; nothing for json
