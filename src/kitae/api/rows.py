"""The rows that a recipe names. Reading them needs no large library, so mistakes in them are told at once."""

from __future__ import annotations

from kitae.console import console
from kitae.data import Rows, wanted_rules
from kitae.errors import InputError
from kitae.i18n import t
from kitae.recipe import Recipe


def gather_rows(recipe: Recipe) -> Rows:
    data, train = recipe.data, recipe.train
    validation = data.validation if isinstance(data.validation, list) else data.validation.fraction
    clean = wanted_rules(data) if data.clean is not None else None
    rows = Rows.gather(data.train, validation, data.test, train.seed, data.unreadable == "drop", clean)
    if rows.rejected:
        count = len(rows.rejected)
        console.say(t("data.cleaned", rejected=count, rows=count + len(rows.train) + len(rows.validation)))
    if not rows.train and rows.rejected:
        first = rows.rejected[0]["_reasons"][0]
        raise InputError("all-rejected", where=rows.rejected[0]["_source"], why=f"{first['gate']}: {first['evidence']}")
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
