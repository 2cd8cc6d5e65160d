"""Distillation by answers: a teacher answers the rows' prompts, and the student learns what it wrote."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from kitae.ask import open_target
from kitae.chat import Conversation, Message
from kitae.core.console import Progress, console
from kitae.core.errors import InputError
from kitae.core.files import append_json, appended
from kitae.core.i18n import t
from kitae.data import Rows
from kitae.generate import Settings, complete
from kitae.recipe import Distillation, Recipe
from kitae.runs import Run

_AT_ONCE = 32  # answers that a killed run may lose


def taught(run: Run, recipe: Recipe, rows: Rows) -> Rows:
    """The rows to learn from and to validate with, as the teacher answers them. Test rows stay what they are."""
    settings, asked = recipe.train.distillation, [*rows.train, *rows.validation]
    answers = _answers(run, settings, asked, _shown(settings, rows.train))
    train, validation = (
        [_answered(row, answers[_key(row)]) for row in part if answers.get(_key(row))] for part in (rows.train, rows.validation)
    )
    left = len(asked) - len(train) - len(validation)
    run.record("taught", answered=len(train) + len(validation), left_out=left)
    console.say("  " + t("say.taught", count=len(train) + len(validation), left=left))
    if not train:
        raise InputError("teacher-silent", where=settings.teacher, count=left, limit=settings.max_new_tokens)
    return Rows(train, validation, rows.test, rows.duplicates)


def _shown(settings: Distillation, rows: Sequence[Conversation]) -> Sequence[Conversation]:
    """The rows that the teacher sees with their answers; one more than it sees at once, for none is its own example."""
    if not settings.shots:
        return []
    shown = [row for row in rows if row.teaches][: settings.shots + 1]
    if len(shown) <= settings.shots:
        raise InputError("few-shots", where=f"train.distill.shots: {settings.shots}", count=len(shown))
    return shown


def _asked(row: Conversation, shown: Sequence[Conversation]) -> list[Message]:
    """The row's prompt, after examples as earlier turns of the same conversation."""
    others = [other for other in shown if _key(other) != _key(row)][: max(len(shown) - 1, 0)]
    examples = [message for other in others for message in other.messages if message.role != "system"]
    start = next((i for i, message in enumerate(row.prompt) if message.role != "system"), len(row.prompt))
    return [*row.prompt[:start], *examples, *row.prompt[start:]]


def _answers(run: Run, settings: Distillation, rows: Sequence[Conversation], shown: Sequence[Conversation]) -> dict[str, str]:
    """By prompt; empty where there is no answer of use. They are written down as they come, so none is asked for twice."""
    file = run.path / "teacher.jsonl"
    known: dict[str, str] = {kept["prompt"]: kept["answer"] for kept in appended(file)}
    wanted = list({_key(row): row for row in rows if _key(row) not in known}.values())
    if not wanted:
        return known
    engine, _ = open_target(settings.teacher, trained=True)
    progress = Progress(t("say.teacher"), len(wanted))
    try:
        wanted.sort(key=lambda row: len(row.text))  # what is answered together should be of like length
        for start in range(0, len(wanted), _AT_ONCE):
            some = wanted[start : start + _AT_ONCE]
            prompts = [engine.codec.prompt(_asked(row, shown)) for row in some]
            wish = Settings(max_tokens=settings.max_new_tokens)
            found = complete(engine, prompts, wish, lambda ended, _, before=start: progress.update(before + ended))  # type: ignore[misc]
            answers = [a.text.strip() if a.finish == "stop" else "" for a in found]
            new = dict(zip(map(_key, some), answers, strict=True))
            for prompt, answer in new.items():
                append_json(file, {"prompt": prompt, "answer": answer})
            known |= new
    finally:
        progress.close()
        engine.close()
    return known


def _key(row: Conversation) -> str:
    return json.dumps([m.as_dict() for m in row.prompt], ensure_ascii=False)


def _answered(row: Conversation, answer: str) -> Conversation:
    return replace(row, messages=(*row.prompt, Message("assistant", answer)), rejected=None)
