"""Rows that a model writes after the example of others."""

from kitae.curate.synth.grow import Grown, Growth, grow
from kitae.curate.synth.ideas import METHODS, Document, Task, read_documents, read_tasks
from kitae.curate.synth.retrieval import nearest_documents
from kitae.curate.synth.variety import variety

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
