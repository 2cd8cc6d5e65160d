"""A conversation, as every room passes it around. Plain text is one too: a single message that nobody speaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

ROLES = ("system", "user", "assistant", "tool")
_TEXT = "text"


@dataclass(frozen=True)
class Message:
    role: str
    content: str
    learned: bool = True  # whether an answer is; others never are
    unread: tuple[str, ...] = field(default=(), compare=False)  # what else was said of it, that nobody reads
    thought: str = ""  # what was thought before it was said; templates that know thoughts say whether it is shown again

    def as_dict(self) -> dict[str, str]:
        thought = {"reasoning_content": self.thought} if self.thought else {}
        return {"role": self.role, "content": self.content, **thought}


@dataclass(frozen=True)
class Conversation:
    messages: tuple[Message, ...]
    source: str = ""  # file:line, so that every later complaint can name the row
    rejected: str | None = None  # a worse last answer, in a preference
    unread: tuple[str, ...] = field(default=(), compare=False)  # fields of the row that nobody reads

    @staticmethod
    def of(messages: Sequence[Mapping[str, str]], source: str = "") -> Conversation:
        return Conversation(tuple(Message(m["role"], m["content"]) for m in messages), source)

    @staticmethod
    def of_text(text: str, source: str = "") -> Conversation:
        return Conversation((Message(_TEXT, text),), source)

    @property
    def is_text(self) -> bool:
        return self.messages[0].role == _TEXT

    @property
    def teaches(self) -> bool:
        """Whether there is anything to learn from it: an answer, or a text."""
        return self.is_text or any(m.role == "assistant" and m.content and m.learned for m in self.messages)

    @property
    def learned_part(self) -> Conversation:
        """Up to the last answer that is to be learned: what comes behind it is no example of anything."""
        last = max((i for i, m in enumerate(self.messages) if m.role == "assistant" and m.learned), default=None)
        return self if last is None else replace(self, messages=self.messages[: last + 1])

    @property
    def prompt(self) -> tuple[Message, ...]:
        """Everything before the last answer."""
        last = max((i for i, m in enumerate(self.messages) if m.role == "assistant"), default=len(self.messages))
        return self.messages[:last]

    @property
    def answer(self) -> str:
        return next((m.content for m in reversed(self.messages) if m.role == "assistant"), "")

    @property
    def worse(self) -> Conversation:
        """A preference with its worse answer."""
        assert self.rejected is not None
        return Conversation((*self.prompt, Message("assistant", self.rejected)), f"{self.source} (rejected)")

    @property
    def text(self) -> str:
        return "\n".join(f"{m.role}: {m.content}" for m in self.messages)
