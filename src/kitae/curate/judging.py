"""Rows rated by a model: how good is this answer to this question, from 1 to 5."""

from __future__ import annotations

import re
import unicodedata

from kitae.ask import Reply, Request
from kitae.chat import Conversation, Message
from kitae.curate.prompts import prompt
from kitae.data import language_of

_ROOM = 512  # tokens, for models that think first
_LONGEST = 12_000  # characters; what is longer is rated by its beginning and its end
_SCALE = re.compile(r"\b1\s*(?:[-–~〜]|to)\s*5\b|(?:/|out of|of)\s*5\b|5\s*点満点(?:中)?", re.IGNORECASE)
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?")
_NAMED = re.compile(r"(?:rating|score|評価|点数|採点)\W{0,6}(-?\d+(?:\.\d+)?)", re.IGNORECASE)


def judge_request(row: Conversation) -> Request:
    said = (*row.prompt, Message("assistant", row.answer))
    shown = "\n\n".join(f"[{m.role}]\n{_shortened(m.content)}" for m in said)
    return Request((Message("user", prompt("judge", language_of(row.answer) or "en", said=shown)),), max_tokens=_ROOM)


def rating(reply: Reply) -> float | None:
    """The number that a whole reply begins with, or names as its rating, or ends with; None if that is none from 1 to 5."""
    if reply.failed or reply.finish == "length":
        return None
    text = reply.text
    text = _SCALE.sub(" ", unicodedata.normalize("NFKC", text)).strip(" \n*_#`\"'")
    numbers = _NUMBER.findall(text)
    begins, named = _NUMBER.match(text), _NAMED.findall(text)
    said = begins[0] if begins else named[-1] if named else numbers[-1] if numbers else ""
    return float(said) if said and 1 <= float(said) <= 5 else None


def _shortened(text: str) -> str:
    half = _LONGEST // 2
    return text if len(text) <= _LONGEST else f"{text[:half]}\n[…]\n{text[-half:]}"
