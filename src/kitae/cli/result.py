"""What a command gives back: a value for `--json`, a text for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kitae.core.i18n import t

if TYPE_CHECKING:
    from kitae.workflows import FormScores, GateResult, VerdictResult


@dataclass(frozen=True)
class Result:
    value: object
    text: str = ""
    exit_code: int = 0


def grid(rows: Sequence[Sequence[object]]) -> str:
    """Rows as columns of text; the first row is the head."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(width(row[i]) for row in cells) for i in range(len(cells[0]))]
    lines = ["  ".join(cell + " " * (most - width(cell)) for cell, most in zip(row, widths, strict=True)) for row in cells]
    lines.insert(1, "  ".join("─" * most for most in widths))
    return "\n".join(line.rstrip() for line in lines)


def gate_lines(gates: Sequence[GateResult]) -> str:
    marks = {"pass": "✓", "refuse": "✗", "warn": "!", "skip": "–"}
    lines = []
    for gate in gates:
        evidence = str(gate["evidence"][0]) if gate["evidence"] and gate["evidence"][0] else ""
        subject = f" [{gate['subject']}]" if gate.get("subject") else ""
        lines.append(f"{marks[gate['verdict']]} {gate['id']}{subject}  {evidence[:150]}".rstrip())
        if gate["verdict"] in ("refuse", "warn"):
            lines += [f"    {gate['why']}", *(f"    · {e}" for e in gate["evidence"][1:4]), f"    → {gate['fix']}"]
        elif gate["verdict"] == "skip":
            lines[-1] += f" ({gate['why']})"
    return "\n".join(lines)


def verdict_line(value: VerdictResult, only: bool = False) -> str:
    if only and value["verdict"] == "ship":
        return t("report.verdict.only")
    alone = any(gate["verdict"] == "skip" and gate["case"] == "no-reference" for gate in value["gates"])
    return t("report.verdict.alone") if alone and value["verdict"] == "ship" else t(f"report.verdict.{value['verdict']}")


def form_table(rows: Sequence[FormScores]) -> str:
    head = [t(f"report.{key}") for key in ("form", "exact", "stops")] + ["MB", t("report.speed")]
    equal = [row["form"] for row in rows if row["answers_of"]]
    note = "\n" + t("report.equal", forms=", ".join(equal)) if equal else ""
    table = grid(
        [
            head,
            *(
                [
                    row["form"],
                    _share(row["exact_match"]),
                    _share(row["stop_rate"]),
                    row["size_mb"],
                    row["tokens_per_second"] or "–",
                ]
                for row in rows
            ),
        ]
    )
    return table + note


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def width(text: str) -> int:
    """Columns on a terminal, where Japanese characters take two."""
    import unicodedata

    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)
