"""Preferences: the same conversation with a better and a worse last answer, in the shapes that people publish."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from kitae.chat import Conversation, Message
from kitae.core.errors import InputError
from kitae.data.read.messages import chat

_TURN = re.compile(r"(?:^|\n\n)(Human|Assistant): ?")


def preference(row: Mapping[str, Any], where: str, source: str) -> Conversation:
    """`chosen` and `rejected` are answers to `prompt`, `messages` or `conversations`, or whole conversations."""
    before = _before(row, where)
    chosen, rejected = (_whole(before, _turns(row[name], name, where), where) for name in ("chosen", "rejected"))
    if any(not turns or turns[-1].role != "assistant" for turns in (chosen, rejected)):
        raise InputError("bad-row", where=where, why="chosen, rejected: the last message is no answer")
    if chosen[:-1] != rejected[:-1]:
        raise InputError("bad-row", where=where, why="chosen and rejected differ before their last answer")
    if len(chosen) < 2:
        raise InputError("bad-row", where=where, why="chosen and rejected answer nothing: no prompt")
    for name, turns in (("chosen", chosen), ("rejected", rejected)):
        if not turns[-1].content.strip():
            raise InputError("bad-row", where=where, why=f"{name}: an empty answer")
    if chosen[-1] == rejected[-1]:
        raise InputError("bad-row", where=where, why="chosen and rejected are the same answer")
    return Conversation(tuple(chosen), source, rejected[-1].content)


def _before(row: Mapping[str, Any], where: str) -> list[Message]:
    for name in ("prompt", "messages", "conversations"):
        if name in row:
            turns = _turns(row[name], name, where, alone="user")
            # An HH prompt ends where the assistant is to speak; some keep the better answer beside the prompt as well.
            return turns[:-1] if turns[-1].role == "assistant" else turns
    return []


def _whole(before: list[Message], answer: list[Message], where: str) -> list[Message]:
    """Whole conversations say again what was asked."""
    if len(answer) == 1:
        return before + answer
    if before == answer[:-1]:
        return answer
    asked = [message for message in answer[:-1] if message.role != "system"]
    if not before or (len(before) == 1 and before[0] in asked):
        return answer
    raise InputError("bad-row", where=where, why="chosen, rejected: whole conversations that are not those of the prompt")


def _turns(value: object, name: str, where: str, alone: str = "assistant") -> list[Message]:
    """`alone`: who says a text in which nobody is named."""
    if isinstance(value, str):
        return spoken(value, name, where) or chat([{"role": alone, "content": value}], where, name)
    return chat([value] if isinstance(value, Mapping) else value, where, name)


def spoken(text: str, name: str, where: str) -> list[Message]:
    """The turns of a text in which Human and Assistant are named; none if nobody is."""
    found = _TURN.split(text)
    if len(found) == 1:
        return []
    if found[0].strip():
        raise InputError("bad-row", where=where, why=f"{name}: {found[0].strip()[:60]!r} is said by nobody")
    turns = [{"role": speaker, "content": said} for speaker, said in zip(found[1::2], found[2::2], strict=True)]
    return chat(turns, where, name)
