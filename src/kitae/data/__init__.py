"""Readers, cleaning, splitting, and the bundled task."""

from kitae.data.catalogue import catalogue
from kitae.data.clean.leaks import Evaluations, read_evaluations
from kitae.data.clean.pipeline import KEPT, PAGE, Inputs, Told, clean_files
from kitae.data.clean.report import report_page
from kitae.data.clean.rules import GATES
from kitae.data.clean.rules.language import language_of
from kitae.data.clean.survey import ACTIONS, Rules, judged, look
from kitae.data.licences import ACTS, Claim, Kind, LicenceVerdict, judge
from kitae.data.read.entries import as_line, each_entry, none_of, nothing_read, read_rows, readable_as
from kitae.data.read.fields import counted
from kitae.data.read.finding import Finding
from kitae.data.read.hub import HubSet, downloaded, is_hub
from kitae.data.read.places import check_out, contents, files_of
from kitae.data.read.readers import each_conversation, each_found, read_conversations
from kitae.data.read.texts import read_texts
from kitae.data.rows import UNREADABLE, Rows, content, wanted_rules
from kitae.data.same import Overlap, draw, overlap, plain, tokens, whole, without_duplicates
from kitae.data.spelled_languages import LOOKED_AT, spelled_languages, spelled_warning
from kitae.data.split import Shares, is_disjoint, partition

__all__ = [
    "ACTIONS",
    "ACTS",
    "GATES",
    "KEPT",
    "LOOKED_AT",
    "PAGE",
    "UNREADABLE",
    "Claim",
    "Evaluations",
    "Finding",
    "HubSet",
    "Inputs",
    "Kind",
    "LicenceVerdict",
    "Overlap",
    "Rows",
    "Rules",
    "Shares",
    "Told",
    "as_line",
    "catalogue",
    "check_out",
    "clean_files",
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
    "judged",
    "language_of",
    "look",
    "none_of",
    "nothing_read",
    "overlap",
    "partition",
    "plain",
    "read_conversations",
    "read_evaluations",
    "read_rows",
    "read_texts",
    "readable_as",
    "report_page",
    "spelled_languages",
    "spelled_warning",
    "tokens",
    "wanted_rules",
    "whole",
    "without_duplicates",
]
