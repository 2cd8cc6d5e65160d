"""What of a record is read, what may lie beside it, and what may not be lost.

Every field is read by the shape that fits, is known to stand beside the lesson, or is told. Of those that are not read, some
are part of what a reader would learn: a row that has one is refused, because without it the lesson would be another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kitae.core.errors import InputError

# About a row, not in it.
_BESIDE = """
    id _id uid uuid idx index row_id question_id prompt_id conversation_id dialogue_id dialog_id session_id message_id parent_id
    task_id source _source sources _reasons _reasons_before _raw origin dataset subset split url link file path title
    category categories topic topics subject subjects task task_type type kind tag tags label labels level difficulty
    lang language languages locale country license licence author user user_id model model_name generator annotator
    created created_at timestamp time date updated_at version hash sha256 md5 meta metadata info extra note notes comment
    score scores rating ratings quality reward margin score_chosen score_rejected chosen_score rejected_score chosen-rating
    rejected-rating chosen-model rejected-model num_turns turns_count length len tokens token_count num_tokens chosen_tokens
    seed seed_id cluster embedding safety safe toxic is_safe similarity frequency freq position role_type persona_id
"""
BESIDE = frozenset(_BESIDE.split())
# Part of the lesson, of a whole row or of one message.
CALLS = ("tools", "functions", "tool_calls", "function_call", "tool_call_id")
THOUGHTS = ("reasoning_content", "reasoning", "thinking", "thought", "thoughts", "chain_of_thought")
OTHER_SENSES = ("image", "images", "audio", "audios", "video", "videos")
_WEIGHTS = ("weight", "train", "loss")  # whether an answer is learned, as different programs call it


class Noted(dict[str, Any]):
    """A record that remembers which of its fields were read."""

    def __init__(self, record: Mapping[str, Any]) -> None:
        super().__init__(record)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        return super().__getitem__(name)

    def get(self, name: str, otherwise: Any = None) -> Any:
        self.read.add(name)
        return super().get(name, otherwise)

    def unread(self) -> tuple[str, ...]:
        return unread(self, self.read)


def unread(fields: Mapping[str, Any], read: set[str] | frozenset[str]) -> tuple[str, ...]:
    """Fields that say something, and that nobody read or knows."""
    beside = {name for name in fields if name.startswith("_") or name.lower() in BESIDE}  # _: somebody's own notes
    return tuple(name for name, value in fields.items() if name not in read and name not in beside and says_something(value))


def counted(unread: Mapping[str, int]) -> str:
    """For a person: each field, and in how many rows."""
    return ", ".join(f"{name} ({count})" for name, count in unread.items())


def says_something(value: object) -> bool:
    """Tables have a field in every row, also where it says nothing; some write an empty list as a text."""
    if isinstance(value, str):
        return value.strip() not in ("", "[]", "{}", "null", "None")
    return value is not None and value != [] and value != {} and value is not False


def refuse_lost(fields: Mapping[str, Any], where: str, place: str = "") -> None:
    """What can't be learned yet, and would be missed."""
    for names, why in (
        (CALLS, "calls of functions can't be learned yet"),
        (THOUGHTS, "thoughts can't be learned yet"),
        (OTHER_SENSES, "only text can be learned"),
    ):
        for name in names:
            if says_something(fields.get(name)):
                raise InputError("bad-row", where=where, why=f"{place}{name}: {why}")


def learned(message: Mapping[str, Any], where: str, place: str) -> bool:
    """Whether an answer is learned: 1 or 0, as whoever wrote it says."""
    for name in _WEIGHTS:
        value = message.get(name)
        if value is None:
            continue
        if isinstance(value, str) or value not in (0, 1):
            raise InputError("bad-row", where=where, why=f"{place}{name}: {value!r} is neither 0 nor 1"[:200])
        return bool(value)
    return True


MESSAGE_FIELDS = frozenset(_WEIGHTS)
