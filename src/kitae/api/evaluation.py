"""`kitae eval`: scores with intervals, alone or beside another model on the same rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from kitae.api.libraries import quiet_libraries
from kitae.api.talking import open_target
from kitae.chat import Conversation
from kitae.console import Progress, with_progress
from kitae.data import Rows, read_conversations
from kitae.errors import InputError
from kitae.files import JsonDict, write_json
from kitae.i18n import t
from kitae.models import STARTERS
from kitae.recipe import Evaluate, Recipe, load_recipe
from kitae.runs import Run, find_run
from kitae.targets import run_named

SUITES = ("language", "exact_match")
_LONGEST = 1024  # tokens of a piece of text, where no recipe says how long the model's own were


def evaluate(
    target: str, suites: Sequence[str] = (), against: str | None = None, data: Path | None = None, limit: int | None = None
) -> JsonDict:
    """`data`: rows to ask; otherwise those that a run held out."""
    unknown = [name for name in suites if name not in SUITES]
    if unknown:
        raise InputError("suite-unknown", where=", ".join(unknown), why=", ".join(SUITES))
    quiet_libraries()
    recipe, rows = _rows(target, against, data)
    rows = [row.learned_part for row in rows if row.teaches][:limit]
    if not rows:
        raise InputError("eval-rows", where=str(data or target))
    wanted = list(suites) or (["language", *recipe.evaluate.suites] if recipe else ["language"])
    longest = recipe.model.max_length if recipe else _LONGEST
    scores, result = score_rows(target, rows, wanted, longest, recipe)
    run = run_named(target)
    if run and recipe is not None and recipe.model.new is not None and "language" in wanted and data is None:
        result["language"]["bigrams"] = _bigrams(target, recipe, rows)
    report: JsonDict = {"target": target, "rows": len(rows), "suites": result}
    if against is not None:
        theirs, result = score_rows(against, rows, wanted, longest, recipe)
        report |= {"against": against, "suites_against": result, "difference": difference(scores, theirs)}
    if run and data is None and limit is None and not suites:  # a part must not be taken for the whole
        write_json(run.reports / "eval.json", report)
    return report


def _rows(target: str, against: str | None, data: Path | None) -> tuple[Recipe | None, list[Conversation]]:
    run = next(filter(None, (run_named(name) for name in (target, against) if name is not None)), None)
    recipe = load_recipe(run.recipe_path) if run else None
    if data is not None:
        return recipe, read_conversations(data)
    if run is None:
        if target not in STARTERS and "/" not in target and not Path(target).exists():
            find_run(target)  # which says what runs there are
        raise InputError("eval-data", where=target)
    return recipe, held_out(run)


def held_out(run: Run) -> list[Conversation]:
    """The rows by which a run is judged."""
    if not run.data.exists():
        raise InputError("run-untrained", where=run.id, why=run.state)
    kept = Rows.load(run.data)
    return kept.test or kept.validation


def score_rows(
    target: str,
    rows: Sequence[Conversation],
    suites: Sequence[str],
    longest: int,
    recipe: Recipe | None,
    trained: bool = False,
) -> tuple[dict[str, dict[int, float]], JsonDict]:
    """(what each row got in each suite, by its number; the summaries)"""
    from kitae.evaluate import Share, exact_match
    from kitae.evaluate.language import by_engine, contexts, predict, summary
    from kitae.generate import Settings, complete
    from kitae.verify.exam import answer_sizes

    engine, _ = open_target(target, trained)
    each: dict[str, dict[int, float]] = {}
    result: JsonDict = {}
    try:
        if "language" in suites:
            found = predict(
                engine.codec, with_progress(t("say.reading-rows"), rows), min(longest, engine.context), by_engine(engine)
            )
            if not found:
                raise InputError("eval-rows", where=target)
            each["language"] = {row.row: row.bits_per_byte for row in found}
            result["language"] = {**summary(found), "left_out": len(rows) - len(found)}
            solved = contexts(engine, engine.codec, rows, longest)
            if solved is not None:
                gap = solved["nats_in_training_passes"] - solved["nats_walked"]
                per_byte = result["language"]["tokens"] / result["language"]["bytes"] / math.log(2)
                result["language"]["contexts"] = {**solved, "gap": gap * per_byte}
        if "exact_match" in suites:
            asked = [row for row in rows if not row.is_text]
            if not asked:
                raise InputError("eval-rows", where=target)
            room = (recipe.evaluate if recipe else Evaluate()).room(answer_sizes(engine.codec, asked))
            settings = Settings(max_tokens=room)
            progress = Progress(t("say.asking"), len(asked), patient=True)
            prompts = [engine.codec.prompt(row.prompt) for row in asked]
            answers = complete(engine, prompts, settings, lambda ended, share: progress.update(ended, share=share))
            progress.close()
            hits = exact_match(answers, [row.answer for row in asked])
            share = Share(sum(hits), len(hits))
            each["exact_match"] = {number: float(hit) for number, hit in enumerate(hits)}
            result["exact_match"] = {"share": share.value, "interval": list(share.interval), "rows": len(hits)}
    finally:
        engine.close()
    return each, result


def _bigrams(target: str, recipe: Recipe, rows: Sequence[Conversation]) -> JsonDict:
    from kitae.evaluate.language import bigrams, predict, summary
    from kitae.models import open_codec

    run = find_run(target)
    codec = open_codec(run.output, recipe.model.chat_template)
    return summary(predict(codec, rows, recipe.model.max_length, bigrams(codec, Rows.load(run.data).train)))


def difference(ours: dict[str, dict[int, float]], theirs: dict[str, dict[int, float]]) -> JsonDict:
    """Ours less theirs over the rows that both could be asked, with the half width of the 95 % interval."""
    from kitae.evaluate import mean_difference

    found: JsonDict = {}
    for suite in ours:
        both = sorted(ours[suite].keys() & theirs[suite].keys())
        if both:
            mean, error = mean_difference([theirs[suite][row] for row in both], [ours[suite][row] for row in both])
            found[suite] = {"mean": mean, "plus_minus": 1.96 * error if len(both) > 1 else None}
    return found
