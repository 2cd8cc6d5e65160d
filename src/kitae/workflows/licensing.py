"""`kitae data licences`: what may be done with what is made of these works."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from kitae.core.errors import InputError
from kitae.core.row_options import Format
from kitae.data import Claim, each_found, files_of
from kitae.recipe import load_recipe
from kitae.verify import claims_of, verdicts
from kitae.workflows.results import LicenceReport

_FIELDS = ("licence", "license", "_licence", "_license")  # of rows that say it themselves


def licences(recipe: Path | None, overrides: Sequence[str], said: Sequence[str]) -> LicenceReport:
    """Of a recipe with its files, and of claims as KIND=LICENCE."""
    claims = list(map(_claim, said))
    if recipe is not None and recipe.suffix not in (".yaml", ".yml"):  # rows, which may say it themselves
        claims += _of_rows(recipe, "auto") or [Claim(recipe.name, "data", "unknown")]
    elif recipe is not None:
        wanted = load_recipe(recipe, overrides)
        claims += claims_of(wanted)
        claims += [claim for source in wanted.data.train for claim in _of_rows(Path(source.path), source.format)]
    if not claims:
        raise InputError("no-claims")
    told = [{"subject": c.subject, "kind": c.kind, "licence": c.licence, "source": c.source} for c in claims]
    return {"claims": told, "verdicts": verdicts(claims)}


def _claim(text: str) -> Claim:
    kind, _, licence = text.partition("=")
    if kind not in ("model", "data", "outputs") or not licence.strip():
        raise InputError("claim-unknown", where=text)
    return Claim(licence.strip(), kind, licence.strip(), "--claim")  # type: ignore[arg-type]  # just checked


def _of_rows(path: Path, form: Format) -> list[Claim]:
    """Each licence that rows name for themselves, and how many do."""
    found: Counter[str] = Counter()
    for file in files_of(path):
        for _, record in each_found(file, form):
            if not isinstance(record, InputError):
                found.update(str(record[name]) for name in _FIELDS if isinstance(record.get(name), str))
    return [Claim(path.name, "data", licence, f"{count} rows") for licence, count in sorted(found.items())]
