"""The rows that a recipe names. Reading them needs no large library, so mistakes in them are told at once."""

from __future__ import annotations

from kitae.data import Rows
from kitae.recipe import Recipe


def gather_rows(recipe: Recipe) -> Rows:
    data = recipe.data
    validation = data.validation if isinstance(data.validation, list) else data.validation.fraction
    return Rows.gather(data.train, validation, data.test, recipe.train.seed)
