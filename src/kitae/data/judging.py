"""Rows rated by a model: how good is this answer to this question, from 1 to 5."""

from __future__ import annotations

import re

from kitae.chat import Conversation, Message, Request
from kitae.data.prompts import prompt
from kitae.data.rules.language import language_of

_LONGEST = 12_000  # characters; what is longer is rated by its beginning and its end
_RATING = re.compile(r"(?<![\d.])([1-5])(?:\.(\d))?(?!\d)")


def judge_request(row: Conversation) -> Request:
    said = (*row.prompt, Message("assistant", row.answer))
    shown = "\n\n".join(f"[{m.role}]\n{_shortened(m.content)}" for m in said)
    return Request((Message("user", prompt("judge", language_of(row.answer) or "en", said=shown)),), max_tokens=16)


def rating(text: str) -> float | None:
    """The number in a reply; None if there is none from 1 to 5. `4/5` is four."""
    found = _RATING.search(text.translate(str.maketrans("１２３４５", "12345")))
    return float(f"{found[1]}.{found[2] or 0}") if found else None


def _shortened(text: str) -> str:
    half = _LONGEST // 2
    return text if len(text) <= _LONGEST else f"{text[:half]}\n[…]\n{text[-half:]}"
