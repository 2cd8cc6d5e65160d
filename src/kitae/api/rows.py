"""The rows that a recipe names. Reading them needs no large library, so mistakes in them are told at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kitae.chat import Conversation
from kitae.data import Rows
from kitae.errors import InputError
from kitae.recipe import Recipe


def gather_rows(recipe: Recipe) -> Rows:
    data = recipe.data
    validation = data.validation if isinstance(data.validation, list) else data.validation.fraction
    rows = Rows.gather(data.train, validation, data.test, recipe.train.seed)
    learned = [*rows.train, *rows.validation]
    if recipe.train.method == "dpo":
        _all(learned, lambda row: row.rejected is not None, "no-preferences")
    if recipe.train.distill is not None and recipe.train.distill.learn == "answers":
        _all(learned, lambda row: not row.is_text, "teacher-text")
    return rows


def _all(rows: Sequence[Conversation], fit: Callable[[Conversation], bool], otherwise: str) -> None:
    for row in rows:
        if not fit(row):
            raise InputError(otherwise, where=row.source)
