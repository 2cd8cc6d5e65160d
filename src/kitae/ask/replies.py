"""What endpoints send back: answers, lists of models, and complaints."""

from __future__ import annotations

import json

from kitae.ask.request import Reply, without_thought
from kitae.core.files import JsonDict


class Later(Exception):
    """It may go better the next time; perhaps the endpoint says when. `paid`: it may have cost something all the same."""

    def __init__(self, why: str, after: float | None = None, paid: bool = False) -> None:
        super().__init__(why)
        self.after, self.paid = after, paid


class NeverThis(Exception):
    """This request won't be answered; others may."""


def said_in(body: bytes) -> tuple[str, str | None]:
    """What an endpoint says is wrong, and of which field."""
    text = body.decode("utf-8", "replace")
    try:
        error = json.loads(text)["error"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return text, None
    if not isinstance(error, dict):
        return str(error), None
    return str(error.get("message", error)), error.get("param") if isinstance(error.get("param"), str) else None


def reply_in(body: bytes) -> Reply:
    try:
        value = json.loads(body)
        if isinstance(value, dict) and value.get("error"):  # some say so under a status of success
            raise NeverThis(said_in(body)[0])
        choice = value["choices"][0]
        message = choice["message"]
        content = message.get("content")
        if isinstance(content, list):  # in parts
            content = "".join(part.get("text", "") for part in content if isinstance(part, dict))
        if content is not None and not isinstance(content, str):
            raise TypeError
        usage = value.get("usage") or {}
        asked, said = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
        finish = str(choice.get("finish_reason") or "stop")
        if not content and finish == "stop":  # it did something else instead
            finish = next(
                (name for name in ("tool_calls", "refusal", "reasoning_content", "reasoning") if message.get(name)), finish
            )
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise Later(f"no reply of the usual kind: {body[:120].decode('utf-8', 'replace')}", paid=True) from error
    text = (content or "").encode("utf-8", "replace").decode()  # JSON can spell half a character
    return Reply(without_thought(text), finish, asked, said)


def objects_in(body: bytes) -> JsonDict:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise NeverThis(f"no JSON: {body[:120].decode('utf-8', 'replace')}") from error
    if not isinstance(value, dict):
        raise NeverThis(f"no JSON object: {body[:120].decode('utf-8', 'replace')}")
    return value


def names_in(body: bytes) -> list[str]:
    """Of a list of models."""
    listed = objects_in(body).get("data")
    entries = listed if isinstance(listed, list) else []
    return [entry["id"] for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str)]
