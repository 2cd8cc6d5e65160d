"""`kitae.train` in Python."""

from __future__ import annotations

import pytest

import kitae
from kitae.errors import RecipeError
from kitae.recipe import parse_recipe


def test_settings_beside_a_recipe_are_read() -> None:
    recipe = parse_recipe("name: a\ndata: {train: [{path: nowhere.jsonl}]}\n", "recipe.yaml")
    with pytest.raises(RecipeError) as caught:
        kitae.train(recipe, overrides=["train.method=qlora", "train.shard=true"])
    assert "train.shard" in caught.value.why
