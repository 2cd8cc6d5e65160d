"""Readers, cleaning, splitting, and the bundled task."""

from kitae.data.clean import PAGE, REPORT, Inputs, Told, clean
from kitae.data.leaks import Evaluations
from kitae.data.readers import each_conversation, read_conversations
from kitae.data.report import report_page
from kitae.data.rows import UNREADABLE, Rows
from kitae.data.rules import GATES, REPAIRABLE, Finding
from kitae.data.split import Overlap, overlap
from kitae.data.survey import ACTIONS, DUPLICATES, Action, Rules, judged
from kitae.data.texts import read_texts

__all__ = [
    "ACTIONS",
    "DUPLICATES",
    "GATES",
    "PAGE",
    "REPAIRABLE",
    "REPORT",
    "UNREADABLE",
    "Action",
    "Evaluations",
    "Finding",
    "Inputs",
    "Overlap",
    "Rows",
    "Rules",
    "Told",
    "clean",
    "each_conversation",
    "judged",
    "overlap",
    "read_conversations",
    "read_texts",
    "report_page",
]
