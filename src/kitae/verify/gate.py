"""A gate's result, and the verdict over many."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

from kitae.core.files import JsonDict
from kitae.core.i18n import t
from kitae.verify.registry import GATES, SKIPS

Outcome = Literal["pass", "refuse", "warn", "skip"]


class GateResult(TypedDict):
    """A gate as programs read it."""

    id: str
    stage: str
    verdict: Outcome
    measured: Any
    limit: Any
    evidence: list[str]
    why: str
    fix: str
    subject: str
    required: bool
    case: str
    fields: dict[str, Any]


class VerdictResult(TypedDict):
    verdict: Literal["ship", "refuse", "incomplete"]
    gates: list[GateResult]


@dataclass(frozen=True)
class Gate:
    """One result. `case` names the sentences that explain it: `gate.<id>.<case>.why` and `.fix`."""

    id: str
    verdict: Outcome
    measured: object = None
    limit: object = None
    evidence: Sequence[str] = ()
    case: str = "pass"
    fields: JsonDict = field(default_factory=dict)
    required: bool = True
    subject: str = ""  # the artifact, where one report covers several

    @property
    def stage(self) -> str:
        return self.id.partition(".")[0]

    def why(self, lang: str | None = None) -> str:
        key = f"gate.skip.{self.case}" if self.verdict == "skip" else f"gate.{self.id}.{self.case}.why"
        return t(key, lang, **self.fields)

    def fix(self, lang: str | None = None) -> str:
        if self.verdict in ("pass", "skip"):
            return ""
        return t(f"gate.{self.id}.{self.case}.fix", lang, **self.fields)

    def as_dict(self) -> GateResult:
        return {
            "id": self.id,
            "stage": self.stage,
            "verdict": self.verdict,
            "measured": self.measured,
            "limit": self.limit,
            "evidence": list(self.evidence),
            "why": self.why(),
            "fix": self.fix(),
            "subject": self.subject,
            "required": self.required,
            "case": self.case,
            "fields": self.fields,
        }

    @staticmethod
    def from_dict(value: GateResult) -> Gate:
        return Gate(
            value["id"],
            value["verdict"],
            value["measured"],
            value["limit"],
            value["evidence"],
            value["case"],
            value["fields"],
            value["required"],
            value["subject"],
        )


def passed(id: str, measured: object = None, limit: object = None, evidence: Sequence[str] = ()) -> Gate:
    return Gate(id, "pass", measured, limit, evidence)


def refused(
    id: str, case: str, measured: object = None, limit: object = None, evidence: Sequence[str] = (), **fields: object
) -> Gate:
    return Gate(id, "refuse", measured, limit, evidence, case, fields)


def warned(
    id: str, case: str, measured: object = None, limit: object = None, evidence: Sequence[str] = (), **fields: object
) -> Gate:
    return Gate(id, "warn", measured, limit, evidence, case, fields)


def skipped(id: str, reason: str, required: bool | None = None, **fields: object) -> Gate:
    """`required`: where it depends on more than the reason."""
    needed = SKIPS[reason] == "required" if required is None else required
    return Gate(id, "skip", case=reason, fields=fields, required=needed)


@dataclass(frozen=True)
class Verdict:
    gates: list[Gate]

    @property
    def verdict(self) -> Literal["ship", "refuse", "incomplete"]:
        if self.refusals:
            return "refuse"
        if not self.gates or any(gate.verdict == "skip" and gate.required for gate in self.gates):
            return "incomplete"
        return "ship"

    @property
    def refusals(self) -> list[Gate]:
        return [gate for gate in self.gates if gate.verdict == "refuse"]

    def as_dict(self) -> VerdictResult:
        return {"verdict": self.verdict, "gates": [gate.as_dict() for gate in self.gates]}


def with_missing(gates: Iterable[Gate], expected: Iterable[str], reason: str) -> list[Gate]:
    """The gates, and a required skip for each expected one that nobody measured: silence is no proof."""
    found = list(gates)
    measured = {gate.id for gate in found}
    return found + [skipped(name, reason) for name in expected if name not in measured]


def chosen(stages: Iterable[tuple[Iterable[str], Iterable[Gate]]], only: Sequence[str]) -> Iterator[Gate]:
    """The wanted gates of stages that say what gates they may have. Nothing behind the last of them is measured."""
    for ids, gates in stages:
        left = set(ids) & set(only)
        if only and not left:
            continue
        for gate in gates:
            if not only or gate.id in only:
                yield gate
            left.discard(gate.id)
            if only and not left:
                break


def in_order(gates: Iterable[Gate]) -> list[Gate]:
    return sorted(gates, key=lambda gate: GATES.index(gate.id))
