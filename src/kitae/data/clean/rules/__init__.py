"""What may be wrong with a row, one rule a file: each tells defects from what only looks like them, and says what it saw."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, get_args

from kitae.core.row_options import RowGate
from kitae.data.clean.rules import empty, encoding, language, private, repetition, tags, truncated
from kitae.data.clean.rules.finding import RowView
from kitae.data.read.finding import Finding

__all__ = ["GATES", "RowView", "findings", "repaired"]

GATES: tuple[RowGate, ...] = get_args(RowGate)


def findings(view: RowView, languages: Sequence[str] = ()) -> list[Finding]:
    """What the row alone gives away."""
    found: list[Finding] = []
    for rule in (empty, encoding, tags, repetition, private, truncated):
        found += rule.find(view)
    found += language.find(view, languages)
    return found


def repaired(record: Mapping[str, Any], found: Collection[Finding], view: RowView) -> dict[str, Any]:
    """A copy in which every text is mended. Fields that begin with an underscore are somebody's notes, and stay."""
    gates = {finding.gate for finding in found}
    tagged = tags.found_in(view) if tags.GATE in gates else set()
    code = any(exchange.is_about_code for exchange in view.exchanges)
    escapes = encoding.GATE in gates and not encoding.may_be_escaped(view)

    def mend(value: Any) -> Any:
        if isinstance(value, str):
            return _mended(value, gates, tagged, code, escapes)
        if isinstance(value, list):
            return [mend(item) for item in value]
        if isinstance(value, dict):
            return {key: item if key.startswith("_") else mend(item) for key, item in value.items()}
        return value

    return {key: item if key.startswith("_") else mend(item) for key, item in record.items()}


def _mended(text: str, gates: Collection[str], tagged: Collection[str], code: bool, escapes: bool) -> str:
    if text in tagged:  # others may hold markup that is meant
        text = tags.stripped(text)
    if encoding.GATE in gates:
        text = encoding.mended(text, escapes)
    if private.GATE in gates:
        text = private.masked(text, code)
    return text
