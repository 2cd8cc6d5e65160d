"""The bare text of files: for what learns from text alone, such as a tokenizer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from kitae.data.read.readers import each_conversation


def read_texts(path: Path, roles: bool = False) -> Iterator[str]:
    """Plain text in blocks of lines where the name says `.txt`, else every message of every row.

    With `roles` a message begins with its role on a line of its own, as chat templates write it.
    """
    for row in each_conversation(path):
        for message in row.messages:
            yield f"{message.role}\n{message.content}" if roles and not row.is_text else message.content
