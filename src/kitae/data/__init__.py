"""Readers, cleaning, splitting, and the bundled task."""

from kitae.data.catalogue import catalogue
from kitae.data.clean import KEPT, PAGE, Inputs, Told, clean
from kitae.data.entries import as_line, each_entry, none_of, nothing_read, read_rows, readable_as
from kitae.data.fields import counted
from kitae.data.hub import HubSet, downloaded, is_hub
from kitae.data.judging import judge_request, rating
from kitae.data.leaks import Evaluations, read_evaluations
from kitae.data.licences import ACTS, Claim, Kind, Verdict, judge
from kitae.data.places import contents, files_of
from kitae.data.readers import each_conversation, each_found, read_conversations
from kitae.data.report import report_page
from kitae.data.rows import UNREADABLE, Rows, content, wanted_rules
from kitae.data.rules import GATES, Finding
from kitae.data.rules.language import language_of
from kitae.data.same import Overlap, draw, overlap, without_duplicates
from kitae.data.selection import READ_BY_MODEL, Amount, Seen, select
from kitae.data.split import Shares, is_disjoint, partition
from kitae.data.survey import ACTIONS, Rules, judged
from kitae.data.texts import read_texts

__all__ = [
    "ACTIONS",
    "ACTS",
    "GATES",
    "KEPT",
    "PAGE",
    "READ_BY_MODEL",
    "UNREADABLE",
    "Amount",
    "Claim",
    "Evaluations",
    "Finding",
    "HubSet",
    "Inputs",
    "Kind",
    "Overlap",
    "Rows",
    "Rules",
    "Seen",
    "Shares",
    "Told",
    "Verdict",
    "as_line",
    "catalogue",
    "clean",
    "content",
    "contents",
    "counted",
    "downloaded",
    "draw",
    "each_conversation",
    "each_entry",
    "each_found",
    "files_of",
    "is_disjoint",
    "is_hub",
    "judge",
    "judge_request",
    "judged",
    "language_of",
    "none_of",
    "nothing_read",
    "overlap",
    "partition",
    "rating",
    "read_conversations",
    "read_evaluations",
    "read_rows",
    "read_texts",
    "readable_as",
    "report_page",
    "select",
    "wanted_rules",
    "without_duplicates",
]
