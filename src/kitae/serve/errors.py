"""What went wrong, in the shape that clients of the OpenAI API read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from kitae.core.errors import BadConstraint, ContextFull, InputError, KitaeError

_KIND = re.compile(r"str|bool|int|dict\[.*\]|list\[.*\]|constrained-.*|function-.*|nullable.*")  # of a union, no field
_WHY = {"extra_forbidden": "this server does not know it", "none_required": "this server does not offer it"}
_NO_OBJECT = ("model_attributes_type", "dict_type", "model_type")
_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 413: "invalid_request_error"}


class ApiError(Exception):
    """`param`: the field of the request that is meant."""

    def __init__(self, status: int, message: str, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param

    @property
    def body(self) -> dict[str, Any]:
        kind = _TYPES.get(self.status, "invalid_request_error")
        if self.status >= 429:
            kind = "rate_limit_error" if self.status == 429 else "server_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def api_error(error: KitaeError, prompt: str = "messages", constraint: str = "response_format") -> ApiError:
    """`prompt`, `constraint`: the fields that hold these."""
    said = " ".join(part for part in (error.message, error.why, error.fix) if part)
    if isinstance(error, ContextFull):
        return ApiError(400, said, "context_length_exceeded", prompt)
    if isinstance(error, BadConstraint):
        return ApiError(400, said, "unsupported_constraint", constraint)
    if isinstance(error, InputError):
        return ApiError(400, said, error.kind)
    if error.kind == "serve-stopped":
        return ApiError(503, said, "draining")
    return ApiError(500, said, error.kind)


def of_validation(problems: Sequence[Any]) -> ApiError:
    """The first mistake names its field; the others are told, too."""
    told = []
    for problem in problems:
        where = ".".join(str(part) for part in problem["loc"] if part != "body" and not _KIND.fullmatch(str(part)))
        why = _WHY.get(problem["type"], problem["msg"].removeprefix("Value error, "))
        told.append((where, why if where or problem["type"] not in _NO_OBJECT else "no JSON object; send application/json"))
    param = told[0][0] if problems[0]["type"] != "json_invalid" else None
    code = "unknown_parameter" if problems[0]["type"] == "extra_forbidden" else "invalid_value"
    return ApiError(400, "; ".join(f"{where or 'body'}: {why}" for where, why in told[:8]), code, param or None)
