"""`data.licence`: whether the licences of all that a model is made of allow what is meant to be done with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import yaml

from kitae.core.files import JsonDict
from kitae.core.i18n import t
from kitae.data import ACTS, Claim, Kind, LicenceVerdict, judge
from kitae.models import STARTERS
from kitae.recipe import Recipe, load_recipe
from kitae.targets import run_named
from kitae.verify.gate import Gate, passed, refused, warned


def claims_of(recipe: Recipe) -> list[Claim]:
    """Who says what of which part. What nobody says anything of is unknown, never free."""
    found: list[Claim] = []
    if recipe.model.new is None:
        found += _claims(recipe.model.source, "model", _licence(recipe.model.source, recipe.model.licence))
    for source in recipe.data.train:
        found += _claims(Path(source.path).name, "data", source.licence)
    train = recipe.train
    if train.distill is not None:
        found += _of_other(train.distill.teacher, "outputs", train.distill.licence)
    for model in train.blend.models if train.blend is not None else []:
        found += _of_other(model, "model", "auto")
    return found


def _of_other(source: str, kind: Kind, said: str) -> Iterator[Claim]:
    """Of a run all claims count that its own model was made under."""
    if said == "auto" and (run := run_named(source)):
        for claim in claims_of(load_recipe(run.recipe_path)):
            yield replace(claim, subject=f"{source}: {claim.subject}", kind=kind if claim.kind == "model" else claim.kind)
    else:
        yield from _claims(source, kind, _licence(source, said))


def _claims(subject: str, kind: Kind, said: str) -> Iterator[Claim]:
    for licence in said.split(","):
        yield Claim(subject, kind, licence.strip())


def _licence(source: str, said: str) -> str:
    if said != "auto":
        return said
    if source in STARTERS:
        return STARTERS[source][1]
    return _card_licence(Path(source) / "README.md") or "unknown"


def _card_licence(card: Path) -> str | None:
    """What a model's own card says at its head."""
    try:
        _, head, _ = card.read_text(encoding="utf-8").split("---\n", 2)
        said = yaml.safe_load(head)
    except (OSError, ValueError, yaml.YAMLError):
        return None
    licence = said.get("license_name") or said.get("license") if isinstance(said, dict) else None
    return licence if isinstance(licence, str) else None


def licence_gate(recipe: Recipe) -> Gate:
    verdict = judge(claims_of(recipe), recipe.ship.use)
    evidence = sentences(verdict) or [f"{claim.subject}: {claim.licence}" for claim in claims_of(recipe)]
    if verdict.outcome in ("conflict", "forbidden", "block"):
        return refused("data.licence", "forbidden", verdict.outcome, "ok", evidence, use=recipe.ship.use)
    if verdict.outcome == "warn":
        return warned("data.licence", "doubtful", verdict.outcome, "ok", evidence, use=recipe.ship.use)
    return passed("data.licence", verdict.outcome, "ok", evidence)


def sentences(verdict: LicenceVerdict, lang: str | None = None) -> list[str]:
    return [t(f"licence.because.{key}", lang, subject=subject, licence=licence) for key, subject, licence in verdict.reasons]


def verdicts(claims: list[Claim]) -> list[JsonDict]:
    """Of everything that may be done, read strictly and loosely."""
    return [
        {
            "act": act,
            "reading": "strict" if strict else "loose",
            "outcome": verdict.outcome,
            "licence": verdict.licence,
            "reasons": sentences(verdict),
            "notices": list(verdict.notices),
            "attribution": list(verdict.attribution),
            "name": verdict.name,
        }
        for act in ACTS
        for strict in (True, False)
        for verdict in [judge(claims, act, strict)]
    ]


def obligations(recipe: Recipe) -> list[str]:
    """What licences ask of whoever passes this model on."""
    verdict = judge(claims_of(recipe), "commercial" if recipe.ship.use == "commercial" else "publish-weights")
    lines = [f"To be passed on: {verdict.outcome}" + (f", under {verdict.licence}" if verdict.licence else "") + "."]
    lines += [f"- {sentence}" for sentence in sentences(verdict, "en")]
    if verdict.attribution:
        lines.append(f"Name where it comes from: {', '.join(verdict.attribution)}.")
    lines += verdict.notices
    if verdict.name is not None:
        lines.append(f'Name: "{verdict.name}" must begin the name of this model, or be shown with it as its licence says.')
    return [*lines, "An unknown licence is unknown, not free: check it before you publish. These are notes, not legal advice."]
