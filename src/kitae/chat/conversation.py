"""A conversation, as every room passes it around."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True)
class Message:
    role: str
    content: str

    def as_dict(self) -> dict[str, str]:
        return {"role": self.role, "content": self.content}


@dataclass(frozen=True)
class Conversation:
    messages: tuple[Message, ...]
    source: str = ""  # file:line, so that every later complaint can name the row

    @staticmethod
    def of(messages: Sequence[Mapping[str, str]], source: str = "") -> Conversation:
        return Conversation(tuple(Message(m["role"], m["content"]) for m in messages), source)

    @property
    def prompt(self) -> tuple[Message, ...]:
        """Everything before the last answer."""
        last = max((i for i, m in enumerate(self.messages) if m.role == "assistant"), default=len(self.messages))
        return self.messages[:last]

    @property
    def answer(self) -> str:
        return next((m.content for m in reversed(self.messages) if m.role == "assistant"), "")

    @property
    def text(self) -> str:
        return "\n".join(f"{m.role}: {m.content}" for m in self.messages)
