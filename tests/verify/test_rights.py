"""Under which licences a model is that was made of others."""

from __future__ import annotations

from pathlib import Path

from kitae.recipe import Recipe, load_recipe
from kitae.runs import create_run
from kitae.verify import claims_of

TRAINED = """\
name: part
model: {source: org/base, licence: apache-2.0}
data: {train: [{path: rows.jsonl, licence: CC-BY-SA-4.0}]}
"""


def recipe(tmp_path: Path, train: str) -> Recipe:
    run = create_run("part", TRAINED).id
    card = tmp_path / "other" / "README.md"
    card.parent.mkdir()
    card.write_text("---\nlicense: mit\n---\nA model.\n")
    path = tmp_path / "recipe.yaml"
    whole = TRAINED.replace("part", "whole").replace("CC-BY-SA-4.0", "CC0-1.0").replace("apache-2.0", "bsd-3-clause")
    path.write_text(whole + train.format(run=run, other=card.parent))
    return load_recipe(path)


def test_a_blend_is_under_all_licences_of_its_parts(tmp_path: Path) -> None:
    claims = claims_of(recipe(tmp_path, "train: {{method: blend, blend: {{models: [{run}, {other}]}}}}\n"))
    assert {(claim.subject.partition("-")[0], claim.kind, claim.licence) for claim in claims} == {
        ("org/base", "model", "bsd-3-clause"),
        ("rows.jsonl", "data", "CC0-1.0"),
        ("part", "model", "apache-2.0"),
        ("part", "data", "CC-BY-SA-4.0"),
        (str(tmp_path / "other").partition("-")[0], "model", "mit"),
    }


def test_a_base_is_no_run_though_one_be_called_so(tmp_path: Path) -> None:
    create_run("part", TRAINED)
    path = tmp_path / "recipe.yaml"
    path.write_text(TRAINED.replace("org/base, licence: apache-2.0", "part"))
    assert [claim.licence for claim in claims_of(load_recipe(path))] == ["unknown", "CC-BY-SA-4.0"]


def test_a_run_that_teaches_brings_its_licences_too(tmp_path: Path) -> None:
    claims = claims_of(recipe(tmp_path, "train: {{method: distill, distill: {{teacher: {run}}}}}\n"))
    assert ("outputs", "apache-2.0") in {(claim.kind, claim.licence) for claim in claims}
    assert ("data", "CC-BY-SA-4.0") in {(claim.kind, claim.licence) for claim in claims}
