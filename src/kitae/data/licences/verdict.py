"""From claims to a verdict: may this be done, why not, and what must be shipped with it.

Whether weights are a changed version of what they learned from is an open question. The strict reading says yes; the loose one
says that only what a model was built from passes its conditions on. Where a work has several claims, all of them count.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from kitae.data.licences.terms import Terms, terms_of

Act = Literal["private", "publish-data", "publish-weights", "commercial"]
ACTS: tuple[Act, ...] = ("private", "publish-data", "publish-weights", "commercial")
Kind = Literal["model", "data", "outputs"]
Outcome = Literal["ok", "warn", "conflict", "forbidden", "block"]
_GRAVITY: tuple[Outcome, ...] = ("ok", "warn", "conflict", "forbidden", "block")
Reason = tuple[str, str, str]  # key of a sentence, subject, licence


@dataclass(frozen=True)
class Claim:
    """What somebody says of a work's licence. `source` is where it is said."""

    subject: str
    kind: Kind
    licence: str
    source: str = ""


@dataclass(frozen=True)
class LicenceVerdict:
    act: Act
    strict: bool
    outcome: Outcome
    licence: str | None  # which the result must have, if anything
    reasons: tuple[Reason, ...]
    notices: tuple[str, ...] = ()
    attribution: tuple[str, ...] = ()  # whom to name
    name: str | None = None


_NO_NAMES = ("unknown", "other", "none", "null", "noassertion", "n/a", "no license", "–", "-", "")


@dataclass
class _Case:
    outcome: Outcome = "ok"
    reasons: list[Reason] = field(default_factory=list)

    def add(self, outcome: Outcome, key: str, subject: str, licence: str) -> None:
        self.outcome = max(self.outcome, outcome, key=_GRAVITY.index)
        if (key, subject, licence) not in self.reasons:
            self.reasons.append((key, subject, licence))


def judge(claims: Sequence[Claim], act: Act, strict: bool = True) -> LicenceVerdict:
    case = _Case()
    claims = [claim for claim in claims if act != "publish-data" or claim.kind != "model"]  # data owes nothing to a model
    known: list[tuple[Claim, Terms]] = []
    for claim in claims:
        terms = terms_of(claim.licence.rstrip("?"))  # "MIT?" is a claim that somebody doubts; it counts all the same
        if terms is None:
            why = "unknown" if claim.licence.strip(" ?").casefold() in _NO_NAMES else "no-terms"
            case.add("warn" if act == "private" else "block", why, claim.subject, claim.licence)
        else:
            known.append((claim, terms))
    if not claims:
        case.add("warn" if act == "private" else "block", "unknown", "–", "–")
    for claim, terms in known:
        _alone(case, claim, terms, act)
    licence = _together(case, known, act, strict) if act != "private" else None
    licence = licence if case.outcome in ("ok", "warn") else None
    passed_on = [(claim, terms) for claim, terms in known if act != "private"]
    return LicenceVerdict(
        act,
        strict,
        case.outcome,
        licence,
        tuple(case.reasons),
        _distinct(terms.notice for _, terms in passed_on),
        _distinct(claim.subject for claim, terms in passed_on if terms.attribution),
        " / ".join(_distinct(terms.name for _, terms in passed_on if act != "publish-data")) or None,
    )


def _alone(case: _Case, claim: Claim, terms: Terms, act: Act) -> None:
    if not terms.changes:
        case.add("forbidden", "no-changes", claim.subject, terms.id)
    if not terms.commercial and act == "commercial":
        case.add("conflict", "no-commerce", claim.subject, terms.id)
    if claim.kind == "outputs" or terms.outputs == "contract":
        if terms.outputs == "forbidden":
            case.add("forbidden", "no-outputs", claim.subject, terms.id)
        elif terms.outputs == "contract":
            case.add("warn", "contract", claim.subject, terms.id)
    if terms.terms is not None and act != "private":
        case.add("ok", "terms", claim.subject, terms.id)
    if terms.name is not None and act in ("publish-weights", "commercial"):
        case.add("ok", "name", claim.subject, terms.id)


def _together(case: _Case, known: Sequence[tuple[Claim, Terms]], act: Act, strict: bool) -> str | None:
    """The licence of the result: what all that it is a changed version of allow."""
    bound = [(claim, terms) for claim, terms in known if strict or act == "publish-data" or claim.kind != "data"]
    sharing = [(claim, terms) for claim, terms in bound if terms.share_alike is not None]
    if sharing:
        allowed = [name for name in sharing[0][1].share_alike or () if all(name in (t.share_alike or ()) for _, t in sharing)]
        if not allowed:
            for claim, terms in sharing:
                case.add("conflict", "share-alike", claim.subject, terms.id)
            return None
        result = terms_of(allowed[-1])
        for claim, terms in bound:
            asks_more = terms.terms is not None or (not terms.commercial and result is not None and result.commercial)
            if terms.share_alike is None and asks_more:
                case.add("conflict", "asks-more", claim.subject, terms.id)
        return allowed[-1]
    conditions = [terms.id for _, terms in bound if terms.terms is not None]
    for claim, terms in bound:
        if not terms.commercial:
            case.add("ok", "stays-non-commercial", claim.subject, terms.id)
            conditions.append(terms.id)
    if conditions:
        return " + ".join(dict.fromkeys(conditions))
    model = next((terms.id for claim, terms in bound if claim.kind == "model"), None)
    return model or next((terms.id for _, terms in bound if terms.attribution), None)


def _distinct(values: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value for value in values if value))
