"""The rows that a recipe names. Reading them needs no large library, so mistakes in them are told at once."""

from __future__ import annotations

from kitae.data import Rows
from kitae.errors import InputError
from kitae.recipe import Recipe


def gather_rows(recipe: Recipe) -> Rows:
    data, train = recipe.data, recipe.train
    validation = data.validation if isinstance(data.validation, list) else data.validation.fraction
    rows = Rows.gather(data.train, validation, data.test, train.seed, drop=data.unreadable == "drop")
    if not rows.train:
        first = rows.unreadable[0]
        raise InputError("all-unreadable", where=first["where"], why=f"{first['what']} {first['why']}")
    answered_by_teacher = train.distill is not None and train.distill.learn == "answers"
    for row in (*rows.train, *rows.validation):
        if train.method == "dpo" and row.rejected is None:
            raise InputError("no-preferences", where=row.source)
        if answered_by_teacher and row.is_text:
            raise InputError("teacher-text", where=row.source)
    return rows
