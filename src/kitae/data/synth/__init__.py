"""Rows that a model writes after the example of others."""

from kitae.data.synth.grow import Grown, Growth, grow
from kitae.data.synth.ideas import METHODS, Document, Task, read_documents, read_tasks
from kitae.data.synth.retrieval import nearest_documents
from kitae.data.synth.variety import variety

__all__ = [
    "METHODS",
    "Document",
    "Grown",
    "Growth",
    "Task",
    "grow",
    "nearest_documents",
    "read_documents",
    "read_tasks",
    "variety",
]
