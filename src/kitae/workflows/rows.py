"""The rows that a recipe names. Reading them needs no large library, so mistakes in them are told at once."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path

from kitae.chat import Conversation
from kitae.core.console import console
from kitae.core.errors import InputError
from kitae.core.i18n import t
from kitae.curate import Amount
from kitae.data import Rows, counted, draw, nothing_read, wanted_rules
from kitae.recipe import Recipe
from kitae.train import CHARACTERS_PER_TOKEN


def gather_rows(recipe: Recipe, reading: bool = True) -> Rows:
    """`reading`: where the recipe lets a model choose, it does; else as many rows are taken at random."""
    data, train = recipe.data, recipe.train
    validation = data.validation if isinstance(data.validation, list) else data.validation.fraction
    clean = wanted_rules(data) if data.clean is not None else None
    choose = partial(_chosen, recipe, reading) if data.select is not None else list[Conversation]
    rows = Rows.gather(data.train, validation, data.test, train.seed, data.unreadable == "drop", clean, choose)
    if rows.rejected:
        count = len(rows.rejected)
        console.say(t("data.cleaned", rejected=count, rows=count + len(rows.train) + len(rows.validation)))
    if not rows.train and rows.rejected:
        first = rows.rejected[0]["_reasons"][0]
        raise InputError("all-rejected", where=rows.rejected[0]["_source"], why=f"{first['gate']}: {first['evidence']}")
    if not rows.train and not rows.unreadable:
        raise InputError("none-weighted", where=recipe.name)
    if not rows.train:
        first = rows.unreadable[0]
        raise nothing_read(first["where"], f"{first['what']} {first['why']}")
    unread = Counter(name for row in (*rows.train, *rows.validation, *rows.test) for name in row.unread)
    if unread:
        console.say(t("data.unread", fields=counted(dict(unread.most_common()))))
    answered_by_teacher = train.distill is not None and train.distill.learn == "answers"
    for row in (*rows.train, *rows.validation):
        if train.method == "dpo" and row.rejected is None:
            raise InputError("no-preferences", where=row.source)
        if answered_by_teacher and row.is_text:
            raise InputError("teacher-text", where=row.source)
    return rows


def _chosen(recipe: Recipe, reading: bool, rows: list[Conversation]) -> list[Conversation]:
    wanted = recipe.data.select
    assert wanted is not None
    from kitae.ask import ClientSpec
    from kitae.curate import Choice, choose, ways_of

    amount = Amount(wanted.rows, wanted.share, wanted.tokens)
    targets, judge = tuple(map(Path, wanted.targets)), ClientSpec(wanted.judge) if wanted.judge else None
    choice = Choice(ways_of(wanted.by), amount, wanted.model, targets, judge, wanted.sample, recipe.train.seed)
    choice.check()
    if not reading:
        lengths = [max(1, round(len(row.text) / CHARACTERS_PER_TOKEN)) for row in rows]
        order = sorted(range(len(rows)), key=lambda i: draw(rows[i], recipe.train.seed, "random"))
        taken = amount.take(order, lengths)
        if not taken:
            raise InputError("none-chosen", where=wanted.by)
        return [rows[i] for i in sorted(taken)]
    chosen = choose(rows, choice)
    console.say(t("select.chosen", **{name: chosen.report[name] for name in ("chosen", "rows", "tokens")}))
    return [rows[i] for i in sorted(chosen.rows)]
