"""`kitae data select`: which rows are worth training on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from kitae.ask import ClientSpec
from kitae.chat import Conversation
from kitae.core import interruption, paths
from kitae.core.console import Progress, console
from kitae.core.errors import InputError, Interrupted
from kitae.core.files import JsonDict, alone, hash_text, staged_folder, write_json, write_jsonl
from kitae.core.i18n import t
from kitae.core.libraries import quiet_libraries
from kitae.core.row_options import Format, Way
from kitae.curate.judging import judge_request, rating
from kitae.curate.ranking import READ_BY_MODEL, Amount, Seen, select
from kitae.data import as_line, check_out, draw, each_entry, files_of, is_hub, none_of, read_rows
from kitae.targets import resolve

if TYPE_CHECKING:
    from kitae.evaluate import FeatureModel

Number = TypeVar("Number", bound=np.floating)
_REASONS = ("not-considered", "no-answer", "too-long", "ifd", "unjudged")


@dataclass(frozen=True)
class Choice:
    ways: tuple[Way, ...]
    amount: Amount
    model: str = "smollm2-135m-instruct"  # that reads the rows
    targets: tuple[Path, ...] = ()  # rows that chosen ones are to be like
    judge: ClientSpec | None = None
    sample: int | None = None  # rows that are considered, drawn at random; the others are not
    seed: int = 0

    def __post_init__(self) -> None:
        if sum(value is not None for value in (self.amount.rows, self.amount.share, self.amount.tokens)) != 1:
            raise InputError("amount")
        for way, option, given in (("similar", "--target", self.targets), ("judge", "--judge", self.judge)):
            if way in self.ways and not given:
                raise InputError("way-needs", where=way, needed=option)
            if given and way not in self.ways:
                raise InputError("way-unread", where=option, why="+".join(self.ways), way=way)

    def check(self) -> None:
        """What can be wrong with those that are named, before anything is read or paid for."""
        for target in self.targets:
            if not any(file.is_file() or is_hub(file) for file in files_of(target)):
                raise InputError("file-missing", where=str(target))
        if self.judge is not None:
            self.judge.check()


class Selected(TypedDict):
    rows: int
    left_out: dict[str, int]  # by reason
    chosen: int
    tokens: int


class SelectReport(Selected):
    unreadable: int
    command: str
    folder: str


@dataclass(frozen=True)
class Chosen:
    rows: list[int]  # best first
    seen: Seen

    @property
    def report(self) -> Selected:
        left_out = {name: int(rows.sum()) for name, rows in self.seen.left_out.items() if rows.any()}
        tokens = sum(self.seen.lengths[row] for row in self.rows)
        return {"rows": len(self.seen.lengths), "left_out": left_out, "chosen": len(self.rows), "tokens": tokens}


def ways_of(text: str) -> tuple[Way, ...]:
    """`ifd+diverse`"""
    known = get_args(Way)
    found = tuple(part.strip() for part in text.split("+"))
    if not set(found) <= set(known) or len(set(found)) < len(found):
        raise InputError("way-unknown", where=text, why=", ".join(known))
    return found  # type: ignore[return-value]  # just checked


def select_data(
    sources: Sequence[Path], out: Path, choice: Choice, form: Format = "auto", limit: int | None = None
) -> SelectReport:
    """Writes the chosen rows as they came, best first; what is known of every row; and a report."""
    check_out(out, sources)
    command = console.again("select_data")
    choice.check()
    with interruption.heard():
        try:
            rows, rejected = read_rows(each_entry(sources, form, limit), form)
            if not rows:
                raise none_of(sources, rejected)
            chosen = choose([row.talk for row in rows], choice)
        except KeyboardInterrupt as error:
            raise Interrupted("data-interrupted", where=command) from error
    report: SelectReport = {**chosen.report, "unreadable": len(rejected), "command": command, "folder": str(out)}
    with staged_folder(out) as stage:
        (stage / "kept.jsonl").write_bytes(b"".join(as_line(rows[i].record) for i in chosen.rows))
        (stage / "rejected.jsonl").write_bytes(b"".join(map(as_line, rejected)))
        write_jsonl(stage / "scores.jsonl", _scores([row.talk.source for row in rows], chosen))
        write_json(stage / "report.json", {name: value for name, value in report.items() if name != "folder"})
    return report


def _scores(places: Sequence[str], chosen: Chosen) -> list[JsonDict]:
    seen, ranks = chosen.seen, {row: rank for rank, row in enumerate(chosen.rows, 1)}
    found = []
    for row, place in enumerate(places):
        told: JsonDict = {"where": place, "rank": ranks.get(row)}
        told |= {"tokens": seen.lengths[row], "answer_tokens": seen.answers[row]}
        for name, values in (("ifd", seen.difficulty), ("judge", seen.judged)):
            if values is not None and np.isfinite(values[row]):
                told[name] = round(float(values[row]), 4)
        if seen.vectors is not None and seen.targets is not None and np.isfinite(seen.vectors[row]).all():
            told["similar"] = round(float((seen.vectors[row] @ seen.targets.T).max()), 4)
        reasons = [name for name, rows in seen.left_out.items() if rows[row]]
        found.append({**told, **({"left_out": reasons} if reasons else {})})
    return found


def feature_model(name: str) -> FeatureModel:
    from kitae.evaluate import FeatureModel

    return FeatureModel(resolve(name, trained=True).weights())


def choose(rows: Sequence[Conversation], choice: Choice) -> Chosen:
    quiet_libraries()
    model, needs = feature_model(choice.model), READ_BY_MODEL & set(choice.ways)
    draws = np.array([draw(row, choice.seed, "random") for row in rows])
    left_out = {name: np.zeros(len(rows), dtype=np.bool_) for name in _REASONS}
    if choice.sample is not None:
        drawn = np.array([draw(row, choice.seed, "sample") for row in rows])
        left_out["not-considered"][np.argsort(drawn, kind="stable")[choice.sample :]] = True
    encoded = model.encode(rows)
    lengths, answers = [len(row.ids) for row in encoded], [row.answer for row in encoded]
    questions = {"ifd", "judge"}.intersection(choice.ways)  # without which there is nothing to rate
    left_out["no-answer"] |= np.array([not row.teaches or bool(row.is_text and questions) for row in rows])
    if needs:
        left_out["too-long"] |= np.array(lengths) > model.longest
    difficulty = judged = vectors = targets = None
    if needs:
        able = _able(left_out)
        found = model.read([encoded[i] for i in able], "ifd" in needs, bool(needs - {"ifd"}))
        difficulty = None if found.difficulty is None else _placed(found.difficulty.astype(np.float64), able, len(rows))
        vectors = None if found.vectors is None else _placed(found.vectors, able, len(rows))
    if difficulty is not None:  # from 1 on, the question is of no help: the row is odd, or its answer needs none
        left_out["ifd"][_able(left_out)] = ~(difficulty[_able(left_out)] < 1)
    if "similar" in choice.ways:
        targets = model.vectors_of(choice.targets)
    if choice.judge is not None:
        able = _able(left_out)
        judged = _placed(np.array(_judged([rows[i] for i in able], choice.judge), np.float64), able, len(rows))
        left_out["unjudged"][able] = ~np.isfinite(judged[able])
    seen = Seen(lengths, answers, draws, difficulty, judged, vectors, targets, left_out)
    chosen = Chosen(select(choice.ways, seen, choice.amount), seen)
    if not chosen.rows:
        why = ", ".join(f"{name}: {count}" for name, count in chosen.report["left_out"].items())
        raise InputError("none-chosen", where="+".join(choice.ways), why=why)
    return chosen


def _able(left_out: dict[str, NDArray[np.bool_]]) -> list[int]:
    return np.flatnonzero(~np.any(list(left_out.values()), axis=0)).tolist()


def _placed(values: NDArray[Number], places: Sequence[int], size: int) -> NDArray[Number]:
    """What is known of some rows, among all."""
    found = np.full((size, *values.shape[1:]), np.nan, dtype=values.dtype)
    found[list(places)] = values
    return found


def _judged(rows: Sequence[Conversation], judge: ClientSpec) -> list[float]:
    """Not a number where the reply holds none."""
    from kitae.ask import Ledger, Spent

    progress = Progress(t("select.judging"), len(rows))
    folder = paths.cache_dir() / "judgements" / hash_text(judge.who, *judge.fingerprint())
    client = judge.open()
    try:
        with alone(folder):
            ledger = Ledger(folder / "calls.jsonl", with_messages=False, on_reply=lambda spent: show(spent))
            before = ledger.spent.calls + ledger.spent.lost

            def show(spent: Spent) -> None:
                progress.update(min(len(rows), spent.calls + spent.lost - before))

            replies = ledger.ask(client, [judge_request(row) for row in rows])
    finally:
        progress.close()
        client.close()
    found = [rating(reply) if reply is not None else None for reply in replies]
    return [float("nan") if number is None else number for number in found]
