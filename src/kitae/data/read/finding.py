"""What is said of a row that can't be read, or that has a defect."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """`habit` names what a set may do on purpose: what most rows have is no defect."""

    gate: str
    kind: str
    evidence: str
    habit: str = ""

    def as_dict(self) -> dict[str, str]:
        return {"gate": self.gate, "kind": self.kind, "evidence": self.evidence}
