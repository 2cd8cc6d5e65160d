"""Readers, cleaning, splitting, and the bundled task."""

from kitae.data.clean import PAGE, Inputs, Told, clean
from kitae.data.leaks import read_evaluations
from kitae.data.licences import ACTS, Claim, Verdict, judge
from kitae.data.partition import Shares, is_disjoint, partition
from kitae.data.places import contents, files_of
from kitae.data.readers import each_found, read_conversations
from kitae.data.report import report_page
from kitae.data.rows import UNREADABLE, Rows, wanted_rules
from kitae.data.rules import GATES, Finding
from kitae.data.split import Overlap, overlap
from kitae.data.survey import ACTIONS, Rules, judged
from kitae.data.texts import read_texts

__all__ = [
    "ACTIONS",
    "ACTS",
    "GATES",
    "PAGE",
    "UNREADABLE",
    "Claim",
    "Finding",
    "Inputs",
    "Overlap",
    "Rows",
    "Rules",
    "Shares",
    "Told",
    "Verdict",
    "clean",
    "contents",
    "each_found",
    "files_of",
    "is_disjoint",
    "judge",
    "judged",
    "overlap",
    "partition",
    "read_conversations",
    "read_evaluations",
    "read_texts",
    "report_page",
    "wanted_rules",
]
