"""A trial is known by all that its outcome depends on."""

from __future__ import annotations

from pathlib import Path

import pytest

from kitae.workflows.sweeps import _hash, _trial

RECIPE = """\
name: grid
model: {source: new, new: {arch: newllm, tokenizer: tokenizer}}
data: {train: [{path: train.txt}], validation: [{path: held_out.txt}]}
train: {method: full}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "tokenizer").mkdir()
    for name in ("train.txt", "held_out.txt", "tokenizer/tokenizer.json"):
        (tmp_path / name).write_text(name)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return tmp_path / "recipe.yaml"


def name_of(recipe: Path, *settings: str) -> str:
    _hash.cache_clear()
    return _trial(recipe, settings).name


def test_the_same_trial_has_the_same_name(recipe: Path) -> None:
    assert name_of(recipe) == name_of(recipe)
    assert name_of(recipe).startswith("grid-")


def test_settings_make_another_trial(recipe: Path) -> None:
    assert len({name_of(recipe), name_of(recipe, "train.seed=1"), name_of(recipe, "train.seed=2")}) == 3


@pytest.mark.parametrize("file", ["train.txt", "held_out.txt", "tokenizer/tokenizer.json"])
def test_other_files_make_another_trial(recipe: Path, file: str) -> None:
    before = name_of(recipe)
    (recipe.parent / file).write_text("other")
    assert name_of(recipe) != before
