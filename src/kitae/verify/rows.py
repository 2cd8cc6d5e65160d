"""Gates that look at what rows say: the rules by which `kitae data clean` cleans, as measurements with a limit."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from functools import cached_property

from kitae.data import Finding, Rows, judged, wanted_rules
from kitae.evaluate import Share
from kitae.recipe import Recipe
from kitae.verify.gate import Gate, passed, refused, warned

_SHOWN = 5


class RowGates:
    """One measurement each: the share of training rows in which its rule finds something."""

    def __init__(self, recipe: Recipe, rows: Rows) -> None:
        self._recipe, self._rows = recipe, rows
        self._rules = wanted_rules(recipe.data)  # what cleaning lets pass is let pass here

    def gates(self) -> Iterator[Gate]:
        certain, doubtful = self._recipe.verify.dirty_rows, self._recipe.verify.doubtful_rows
        yield self._gate("data.empty", certain)
        yield self._gate("data.encoding", certain)
        yield self._gate("data.tags", certain)
        yield self._gate("data.repetition", certain)
        yield self._gate("data.private", certain)
        yield self._gate("data.truncated", doubtful)
        yield self._gate("data.language", doubtful)
        yield self._gate("data.duplicates", doubtful)

    @cached_property
    def found(self) -> dict[str, list[tuple[str, Finding]]]:
        """Of each gate: a finding of each row that it speaks against, and where the row came from."""
        found: dict[str, dict[str, Finding]] = {}
        once = list({row.source: row for row in self._rows.train}.values())  # a weight repeats rows on purpose
        for row, findings in zip(once, judged(once, self._rules), strict=True):
            for finding in findings:
                found.setdefault(finding.gate, {}).setdefault(row.source, finding)
        return {gate: list(rows.items()) for gate, rows in found.items()}

    def _gate(self, gate: str, limit: float) -> Gate:
        rows, total = self.found.get(gate, []), len({row.source for row in self._rows.train})
        if not rows:
            return passed(gate, 0, limit)
        share = Share(len(rows), total)
        build = refused if share.interval[0] > limit else warned  # one row of a hundred is no dirty set
        return build(
            gate, "found", round(share.value, 4), limit, self.shown(gate), count=len(rows), total=total, command=self.command
        )

    def shown(self, gate: str) -> list[str]:
        return [f"{source}: {finding.evidence} ({finding.kind})" for source, finding in self.found.get(gate, [])[:_SHOWN]]

    @property
    def command(self) -> str:
        data = self._recipe.data
        said = [part for path in data.evaluations for part in ("--evaluation", path)]
        if data.clean is not None:
            said += [part for rule, action in data.clean.rules.items() for part in ("--rule", f"{rule}={action}")]
            said += [part for language in data.clean.languages for part in ("--language", language)]
        forms = {source.format for source in data.train}
        said += ["--format", *forms] if len(forms) == 1 and forms != {"auto"} else []
        return shlex.join(["kitae", "data", "clean", *(source.path for source in data.train), "--out", "cleaned", *said])
