"""What a model reads while it is measured which of its columns matter, if there are no rows of its own to read."""

from __future__ import annotations

from pathlib import Path

from kitae.chat import Conversation, Encoded, HfVocabulary
from kitae.core.errors import InputError
from kitae.models import open_codec, open_tokenizer
from kitae.verify import probe_answers, probe_texts


def general_sequences(folder: Path) -> list[Encoded]:
    """Questions with their answers, and texts of many kinds; of a model without a template the texts only."""
    vocabulary = HfVocabulary(open_tokenizer(folder))
    texts = [vocabulary.encode(text, parse_control=False) for text in probe_texts()]
    sequences = [Encoded(ids, [False] * len(ids), []) for ids in texts if ids]
    try:
        codec = open_codec(folder)
        chats = probe_answers()
        whole = Conversation(tuple(message for chat in chats for message in chat.messages), "chats")
        return [encoded for row in [whole, *chats] for encoded in codec.encode(row)] + sequences
    except InputError:
        return sequences
