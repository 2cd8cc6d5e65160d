"""The messages of a row, checked, under the names that people publish them with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from kitae.chat import ROLES, Message
from kitae.core.errors import InputError
from kitae.data.read.fields import MESSAGE_FIELDS, learned, refuse_lost, unread

SPEAKERS = {
    **{role: role for role in ROLES},
    "human": "user",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "agent": "assistant",
    "developer": "system",  # as newer interfaces call it
    "chatgpt": "assistant",
}
_PERSON = ("name", "speaker", "speaker_id", "interlocutor_id")  # where people stand by their names
_ROLE = ("role", "from", *_PERSON)
_CONTENT = ("content", "value", "text")
_CALLING = ("function", "function_call", "function-call", "tool_call", "observation", "tool_response")
AFTER = "(after the last answer)"


def chat(value: object, where: str, name: str = "messages") -> list[Message]:
    if not isinstance(value, list) or not value:
        raise InputError("bad-row", where=where, why=f"{name}: {json.dumps(value, ensure_ascii=False, default=str)[:80]}")
    people, messages = _two_people(value), list[Message]()
    for i, item in enumerate(value):
        if isinstance(item, Mapping):
            refuse_lost(item, where, f"{name}[{i}].")
    for i, item in enumerate(value):
        if not isinstance(item, Mapping):
            raise InputError("bad-row", where=where, why=f"{name}[{i}]: {type(item).__name__}")
        role, content = _first(item, _ROLE), _joined(_first(item, _CONTENT))
        speaker = (people or SPEAKERS).get(role if people else role.lower()) if isinstance(role, str) else None
        if isinstance(role, str) and role.lower() in _CALLING:
            raise InputError("bad-row", where=where, why=f"{name}[{i}].role: {role}: calls of functions can't be learned yet")
        if speaker is None:
            raise InputError("bad-row", where=where, why=f"{name}[{i}].role: {role!r} (known: {', '.join(SPEAKERS)})"[:400])
        if content is None:
            raise InputError("bad-row", where=where, why=f"{name}[{i}].content: nothing is said")
        if not isinstance(content, str):
            raise InputError("bad-row", where=where, why=f"{name}[{i}].content: {type(content).__name__} is no text")
        check_whole(content, where, f"{name}[{i}].content")
        if item.get("label") is False:
            raise InputError("bad-row", where=where, why=f"{name}[{i}].label: false: an answer that is not wanted")
        read = {*(_named(item, names) for names in (_ROLE, _CONTENT)), *(_PERSON if people else ()), "label"}
        beside = unread(item, read | MESSAGE_FIELDS)
        kept = speaker != "assistant" or learned(item, where, f"{name}[{i}].")
        if people and messages and messages[-1].role == speaker:  # people often say one thing in several messages
            before = messages.pop()
            content, kept = f"{before.content}\n{content}", kept and before.learned
            beside = tuple(dict.fromkeys((*before.unread, *beside)))
        messages.append(Message(speaker, content, kept, beside))
    return messages


def whole_talk(value: object, where: str, name: str) -> list[Message]:
    """Messages with all that is to be learned in them, and not only what comes before an answer."""
    messages = chat(value, where, name)
    if messages[-1].role != "assistant" and any(message.role == "assistant" for message in messages):
        messages[-1] = replace(messages[-1], unread=(*messages[-1].unread, AFTER))
    if any(m.role == "assistant" for m in messages) and not any(m.role == "assistant" and m.learned for m in messages):
        raise InputError("bad-row", where=where, why=f"{name}: no answer is to be learned (weight: 0)")
    return messages


def _two_people(items: list[object]) -> dict[str, str]:
    """In a talk of two who stand by their own names, neither of which is a role, the first to speak is the user."""
    if any(not isinstance(item, Mapping) or "role" in item or "from" in item for item in items):
        return {}
    names = [_first(item, _PERSON) for item in items if isinstance(item, Mapping)]
    people = list(dict.fromkeys(name for name in names if isinstance(name, str) and name.lower() not in SPEAKERS))
    if len(people) != 2 or any(name not in people for name in names):
        return {}
    return dict(zip(people, ("user", "assistant"), strict=True))


def _joined(content: object) -> object:
    """Some write a text as a list of parts; whatever else a part may be can't be learned, and stays what it is."""
    if not isinstance(content, list) or not content:
        return content
    texts = [part.get("text") if isinstance(part, Mapping) and part.get("type") in ("text", None) else None for part in content]
    return "".join(map(str, texts)) if all(isinstance(text, str) for text in texts) else content


def _first(item: Mapping[str, object], names: tuple[str, ...]) -> object:
    return item.get(_named(item, names))


def _named(item: Mapping[str, object], names: tuple[str, ...]) -> str:
    """The first of these names that it has."""
    return next((name for name in names if name in item), names[0])


def is_turn(item: object) -> bool:
    return isinstance(item, Mapping) and any(name in item for name in _ROLE)


def check_whole(text: str, where: str, key: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:  # JSON can spell half a character
        raise InputError("bad-row", where=where, why=f"{key}: {error}") from error
