"""The messages of a row, checked."""

from __future__ import annotations

import json

from kitae.chat import ROLES, Message
from kitae.errors import InputError


def chat(value: object, where: str) -> list[Message]:
    if not isinstance(value, list) or not value:
        raise InputError("bad-row", where=where, why=f"messages: {json.dumps(value, ensure_ascii=False)[:80]}")
    messages = []
    for i, item in enumerate(value):
        if not isinstance(item, dict):
            raise InputError("bad-row", where=where, why=f"messages[{i}]: {type(item).__name__}")
        role, content = item.get("role"), item.get("content")
        if role not in ROLES:
            raise InputError("bad-row", where=where, why=f"messages[{i}].role: {role!r} (known: {', '.join(ROLES)})")
        if not isinstance(content, str):
            raise InputError("bad-row", where=where, why=f"messages[{i}].content: {type(content).__name__}")
        check_whole(content, where, f"messages[{i}].content")
        messages.append(Message(role, content))
    return messages


def check_whole(text: str, where: str, key: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:  # JSON can spell half a character
        raise InputError("bad-row", where=where, why=f"{key}: {error}") from error
