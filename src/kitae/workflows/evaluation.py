"""`kitae eval`: scores with intervals, alone or beside another model on the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kitae.ask import open_target
from kitae.chat import Conversation
from kitae.core.errors import InputError
from kitae.core.files import write_json
from kitae.core.libraries import quiet_libraries
from kitae.data import Rows, read_conversations
from kitae.models import STARTERS
from kitae.recipe import Evaluate, Recipe, load_recipe
from kitae.runs import Run, find_run
from kitae.targets import run_named
from kitae.workflows.results import EvalReport, Scores

SUITES = ("language", "exact_match")
_LONGEST = 1024  # tokens of a piece of text, where no recipe says how long the model's own were


def evaluate(
    target: str, suites: Sequence[str] = (), against: str | None = None, data: Path | None = None, limit: int | None = None
) -> EvalReport:
    """`data`: rows to ask; otherwise those that a run held out."""
    unknown = [name for name in suites if name not in SUITES]
    if unknown:
        raise InputError("suite-unknown", where=", ".join(unknown), why=", ".join(SUITES))
    quiet_libraries()
    from kitae.evaluate import difference

    recipe, rows = _rows(target, against, data)
    rows = [row.learned_part for row in rows if row.teaches][:limit]
    if not rows:
        raise InputError("eval-rows", where=str(data or target))
    wanted = list(suites) or (["language", *recipe.evaluate.suites] if recipe else ["language"])
    longest = recipe.model.max_length if recipe else _LONGEST
    scores, result = scored(target, rows, wanted, longest, recipe)
    run = run_named(target)
    if run and recipe is not None and recipe.model.new is not None and "language" in wanted and data is None:
        result["language"]["bigrams"] = _bigrams(target, recipe, rows)
    report: EvalReport = {"target": target, "rows": len(rows), "suites": result}
    if against is not None:
        theirs, result = scored(against, rows, wanted, longest, recipe)
        report |= {"against": against, "suites_against": result, "difference": difference(scores, theirs)}
    if run and data is None and limit is None and not suites:  # a part must not be taken for the whole
        write_json(run.reports / "eval.json", report)
    return report


def scored(
    target: str,
    rows: Sequence[Conversation],
    suites: Sequence[str],
    longest: int,
    recipe: Recipe | None,
    trained: bool = False,
) -> tuple[dict[str, dict[int, float]], Scores]:
    """What `evaluate.score_rows` gives for what a user names. The recipe says how long its answers may be."""
    from kitae.evaluate import score_rows

    engine, _ = open_target(target, trained)
    try:
        return score_rows(engine, target, rows, suites, longest, (recipe.evaluate if recipe else Evaluate()).room)
    finally:
        engine.close()


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


def _bigrams(target: str, recipe: Recipe, rows: Sequence[Conversation]) -> Scores:
    from kitae.evaluate import bigrams, predict, summary
    from kitae.models import open_codec

    run = find_run(target)
    codec = open_codec(run.output, recipe.model.chat_template)
    return summary(predict(codec, rows, recipe.model.max_length, bigrams(codec, Rows.load(run.data).train)))
