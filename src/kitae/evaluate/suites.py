"""Scores of one model on rows: a number for each row in each suite, and a summary."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from kitae.chat import ChatCodec, Conversation
from kitae.core.console import Progress, with_progress
from kitae.core.errors import InputError
from kitae.core.i18n import t
from kitae.evaluate.language import by_engine, contexts, predict, summary
from kitae.evaluate.results import Scores
from kitae.evaluate.statistics import Share, exact_match, mean_difference
from kitae.generate import Engine, Settings, complete

_LOOKED_AT = 500  # rows, to tell how long answers are


def score_rows(
    engine: Engine,
    name: str,
    rows: Sequence[Conversation],
    suites: Sequence[str],
    longest: int,
    room: Callable[[Sequence[int]], int],
) -> tuple[dict[str, dict[int, float]], Scores]:
    """(what each row got in each suite, by its number; the summaries). `room`: how many tokens an answer may have where right
    ones have so many. `name`: what errors call the model."""
    each: dict[str, dict[int, float]] = {}
    result: Scores = {}
    if "language" in suites:
        found = predict(
            engine.codec, with_progress(t("say.reading-rows"), rows), min(longest, engine.context), by_engine(engine)
        )
        if not found:
            raise InputError("eval-rows", where=name)
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
            raise InputError("eval-rows", where=name)
        settings = Settings(max_tokens=room(answer_sizes(engine.codec, asked)))
        progress = Progress(t("say.asking"), len(asked), patient=True)
        prompts = [engine.codec.prompt(row.prompt) for row in asked]
        answers = complete(engine, prompts, settings, lambda ended, share: progress.update(ended, share=share))
        progress.close()
        hits = exact_match(answers, [row.answer for row in asked])
        share = Share(sum(hits), len(hits))
        each["exact_match"] = {number: float(hit) for number, hit in enumerate(hits)}
        result["exact_match"] = {"share": share.value, "interval": list(share.interval), "rows": len(hits)}
    return each, result


def difference(ours: dict[str, dict[int, float]], theirs: dict[str, dict[int, float]]) -> Scores:
    """Ours less theirs over the rows that both could be asked, with the half width of the 95 % interval."""
    found: Scores = {}
    for suite in ours:
        both = sorted(ours[suite].keys() & theirs[suite].keys())
        if both:
            mean, error = mean_difference([theirs[suite][row] for row in both], [ours[suite][row] for row in both])
            found[suite] = {"mean": mean, "plus_minus": 1.96 * error if len(both) > 1 else None}
    return found


def answer_sizes(codec: ChatCodec, rows: Sequence[Conversation], least: int = 0) -> list[int]:
    """Tokens of answers with their ends: of as many rows as an exam looks at, and of no fewer than it asks."""
    some = rows[: max(_LOOKED_AT, 2 * least)]
    return [len(codec.vocabulary.encode(row.answer, parse_control=False)) + 1 for row in some]
