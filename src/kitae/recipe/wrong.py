"""What is wrong with a value, in the reader's language; pydantic says it in English only."""

from __future__ import annotations

from typing import Any

from pydantic_core import ErrorDetails

from kitae.core.i18n import t

KINDS = {  # pydantic's types of errors, and the sentence that each gets
    "string_type": "text",
    "string_too_short": "empty",
    "string_pattern_mismatch": "pattern",
    "int_type": "whole",
    "int_parsing": "whole",
    "int_from_float": "whole",
    "float_type": "number",
    "float_parsing": "number",
    "finite_number": "finite",
    "not_bool": "no-switch",
    "bool_type": "switch",
    "bool_parsing": "switch",
    "literal_error": "one-of",
    "list_type": "list",
    "too_short": "items",
    "dict_type": "section",
    "model_type": "section",
    "greater_than": "above",
    "greater_than_equal": "at-least",
    "less_than": "below",
    "less_than_equal": "at-most",
}


def in_words(error: ErrorDetails) -> str:
    kind = KINDS.get(error["type"])
    if kind is None:
        return error["msg"]
    context = error.get("ctx", {})
    limit = next((context[name] for name in ("gt", "ge", "lt", "le", "min_length", "pattern") if name in context), "")
    return t(
        f"recipe.wrong.{kind}", limit=_brief(limit), known=context.get("expected", "").replace(" or ", ", ").replace("'", "")
    )


def _brief(limit: Any) -> Any:
    return int(limit) if isinstance(limit, float) and limit.is_integer() else limit
