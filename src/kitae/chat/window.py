"""What of a long conversation is still shown to the model: its system message, and the latest whole turns that fit."""

from __future__ import annotations

from collections.abc import Sequence

from kitae.chat.codec import ChatCodec
from kitae.chat.conversation import Message
from kitae.core.errors import ContextFull


def fitting(codec: ChatCodec, messages: Sequence[Message], room: int, thinking: bool | None = None) -> list[Message]:
    """`room`: tokens of the prompt. A turn begins with what a user says; the last one is never left out."""
    head = next((i for i, message in enumerate(messages) if message.role != "system"), len(messages))
    starts = [i for i in range(head, len(messages)) if messages[i].role == "user"] or [head]

    def kept(first: int) -> list[Message]:
        return [*messages[:head], *messages[starts[first] :]] if first else list(messages)

    low, high = 0, len(starts) - 1  # the fewest turns that have to go
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if len(codec.prompt(kept(middle), thinking)) <= room else (middle + 1, high)
    size = len(codec.prompt(kept(low), thinking))
    if size > room:
        raise ContextFull("context-full", tokens=size, limit=room)
    return kept(low)
