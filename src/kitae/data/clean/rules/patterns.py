"""Formats that somebody else has fixed and that no statistic of a set would show: `patterns.json`, with an example for and one
against each. A leftover that several answers share needs no entry: `leftovers.py` finds its whole family.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path


@cache
def table() -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    return found


def any_of(group: str) -> re.Pattern[str]:
    return re.compile("|".join(entry["pattern"] for entry in table()[group]))
