"""What may be wrong with a row, one rule a file: each tells defects from what only looks like them, and says what it saw."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, get_args

from kitae.data.rules import empty, encoding, language, private, repetition, tags, truncated
from kitae.data.rules.finding import Finding, Talk
from kitae.formats import RowGate

__all__ = ["GATES", "Finding", "Talk", "findings", "repaired"]

GATES: tuple[RowGate, ...] = get_args(RowGate)


def findings(talk: Talk, languages: Sequence[str] = ()) -> list[Finding]:
    """What the row alone gives away."""
    found: list[Finding] = []
    for rule in (empty, encoding, tags, repetition, private, truncated):
        found += rule.find(talk)
    found += language.find(talk, languages)
    return found


def repaired(record: dict[str, Any], gates: Collection[str], code: bool) -> dict[str, Any]:
    """A copy in which every text is mended. Fields that begin with an underscore are somebody's notes, and stay."""
    steps: list[Callable[[str], str]] = []
    if "data.encoding" in gates:
        steps.append(encoding.mended)
    if "data.tags" in gates:
        steps.append(tags.stripped)
    if "data.private" in gates:
        steps.append(lambda text: private.masked(text, code))

    def mend(value: Any) -> Any:
        if isinstance(value, str):
            for step in steps:
                value = step(value)
            return value
        if isinstance(value, list):
            return [mend(item) for item in value]
        if isinstance(value, dict):
            return {key: item if key.startswith("_") else mend(item) for key, item in value.items()}
        return value

    return {key: item if key.startswith("_") else mend(item) for key, item in record.items()}
