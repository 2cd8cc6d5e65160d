"""Readers, splitting, and the bundled task."""

from kitae.data.readers import read_conversations
from kitae.data.rows import UNREADABLE, Rows
from kitae.data.split import Overlap, overlap
from kitae.data.texts import read_texts

__all__ = ["UNREADABLE", "Overlap", "Rows", "overlap", "read_conversations", "read_texts"]
