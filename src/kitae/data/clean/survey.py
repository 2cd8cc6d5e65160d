"""What is known of each row, and what only all rows together can tell: habits of the set, ends of words, the same row twice."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kitae.chat import Conversation
from kitae.core.errors import InputError
from kitae.core.row_options import NEAR, Action, Format
from kitae.data.clean.leaks import Evaluations
from kitae.data.clean.rules import GATES, RowView, findings, repaired
from kitae.data.clean.rules.endings import Ends, OpenEnd, cut_off
from kitae.data.clean.rules.language import language_of
from kitae.data.clean.rules.leftovers import Labels
from kitae.data.clean.rules.tags import GATE as TAGS
from kitae.data.clean.rules.truncated import GATE as TRUNCATED, is_long, open_end
from kitae.data.read.finding import Finding
from kitae.data.read.shapes import Record, conversation
from kitae.data.same import BANDS, Bands, Parts, bands, twins, untidiness, whole

CountTexts = Callable[[Sequence[str]], Sequence[int]]
CountTokens = Callable[[Sequence[Conversation | None]], Sequence[tuple[int, int]]]  # all of a row's, and those of its answers
DUPLICATES = "data.duplicates"
ACTIONS: dict[str, Action] = {gate: "repair" if gate in ("data.encoding", "data.private") else "drop" for gate in GATES}
_HABIT = 0.5  # of all rows: what so many have was meant
_FEWEST = 8  # rows of which anything is a habit
_WORDS = 2_000_000  # different words remembered
KEPT, DROPPED, HABITUAL = 0, 1, 2


@dataclass(frozen=True)
class Rules:
    actions: Mapping[str, Action] = field(default_factory=lambda: dict(ACTIONS))
    languages: tuple[str, ...] = ()  # that answers must be in; without any, the one that was asked in
    near: float = NEAR
    evaluations: Evaluations | None = None
    of_rows: bool = True  # whether rows are looked at by themselves, or only beside each other

    def action(self, gate: str) -> Action:
        return self.actions[gate]


@dataclass(frozen=True)
class Look:
    """One row, looked at: as it was or as it was repaired, and what speaks against it."""

    row: Conversation
    against: list[Finding]
    noticed: list[Finding]  # that a rule lets pass
    repaired: Record | None
    repairs: list[Finding]
    open_end: OpenEnd | None

    @property
    def state(self) -> int:
        if not self.against:
            return KEPT
        return HABITUAL if all(finding.habit for finding in self.against) else DROPPED


def look(row: Conversation, rules: Rules, record: Record | None = None, form: Format = "auto") -> Look:
    """`record`: what the row was made of, if it may be repaired."""
    by_action = _by_action(_found(row, rules), rules)
    against, noticed, repairs = by_action["drop"], by_action["keep"], by_action["repair"]
    better: Record | None = None
    if repairs and (record is None or not all(finding.habit for finding in against)):
        against, repairs = against + repairs, []
    elif repairs and record is not None:
        try:
            better = repaired(record, repairs, RowView(row))
            mended = conversation(better, form, row.source, row.source)
        except InputError:  # without what is hidden, no row is left
            return _looked(row, against + repairs, noticed, None, [], rules)
        again = _by_action(_found(mended, rules), rules)
        left = again["repair"] + [finding for finding in again["drop"] if not finding.habit]
        if left:  # it is rejected for what it was, and for what it would be
            return _looked(row, [*against, *(repairs if again["repair"] else []), *left], noticed, None, [], rules)
        row, against, noticed = mended, again["drop"], again["keep"]
    return _looked(row, against, noticed, better, repairs, rules)


def _by_action(found: Sequence[Finding], rules: Rules) -> dict[Action, list[Finding]]:
    by_action: dict[Action, list[Finding]] = defaultdict(list)
    for finding in found:
        by_action[rules.action(finding.gate)].append(finding)
    return by_action


def _looked(
    row: Conversation,
    against: list[Finding],
    noticed: list[Finding],
    better: Record | None,
    repairs: list[Finding],
    rules: Rules,
) -> Look:
    end = open_end(RowView(row)) if rules.of_rows else None
    return Look(row, list(dict.fromkeys(against)), noticed, better, repairs, end)


def _found(row: Conversation, rules: Rules) -> list[Finding]:
    if not rules.of_rows:
        return []
    found = findings(RowView(row), rules.languages)
    leak = rules.evaluations.find(row) if rules.evaluations else None
    return [*found, leak] if leak else found


@dataclass
class Survey:
    """What is remembered of rows until all have been seen."""

    state: list[NDArray[np.uint8]] = field(default_factory=list)
    wholes: list[NDArray[np.uint64]] = field(default_factory=list)
    bands: list[Bands] = field(default_factory=list)
    untidiness: list[NDArray[np.int32]] = field(default_factory=list)
    turns: list[NDArray[np.uint16]] = field(default_factory=list)
    asked: list[NDArray[np.uint32]] = field(default_factory=list)  # characters
    answered: list[NDArray[np.uint32]] = field(default_factory=list)
    tokens: list[NDArray[np.uint32]] = field(default_factory=list)  # of all that is said; only if they were to be counted
    learned: list[NDArray[np.uint32]] = field(default_factory=list)  # tokens of answers
    habits: dict[int, list[str]] = field(default_factory=dict)
    open_ends: dict[int, OpenEnd] = field(default_factory=dict)
    ends: Ends = field(default_factory=Ends)
    labels: Labels = field(default_factory=Labels)
    languages: Counter[str] = field(default_factory=Counter)
    unread: Counter[str] = field(default_factory=Counter)  # fields that nobody reads, and in how many rows
    count: int = 0
    unreadable: int = 0

    @staticmethod
    def of(looks: Sequence[Look | None], of_rows: bool = True, count_tokens: CountTokens | None = None) -> Survey:
        """None stands for a row that could not be read. `of_rows`: also what only rules for rows need."""
        survey = Survey(count=len(looks))
        size = len(looks)
        state = np.full(size, DROPPED, dtype=np.uint8)
        wholes, keys = np.zeros(size, dtype=np.uint64), np.zeros((size, BANDS), dtype=np.uint32)
        untidy = np.zeros(size, dtype=np.int32)
        lengths = np.zeros((3, size), dtype=np.uint32)
        parts: dict[int, Parts] = {}
        for i, seen in enumerate(looks):
            if seen is None:
                survey.unreadable += 1
                continue
            state[i] = seen.state
            lengths[:, i] = _lengths(seen.row)
            survey.unread.update(seen.row.unread)
            if of_rows:
                survey.languages[language_of(seen.row.answer or seen.row.messages[0].content) or "–"] += 1
            if seen.state == DROPPED:
                continue
            if seen.state == HABITUAL:
                survey.habits[i] = sorted({finding.habit for finding in seen.against})
            wholes[i], untidy[i] = whole(seen.row), untidiness(seen.row)
            parts[i] = Parts.of(seen.row)
            if of_rows:
                survey.ends.add(m.content for m in seen.row.messages)
                survey.labels.add(i, view := RowView(seen.row))
                survey.ends.long += is_long(view)
                survey.ends.answers += 1
            if seen.open_end is not None:
                survey.open_ends[i] = seen.open_end
        keys[list(parts)] = bands(list(parts.values()))
        survey.state, survey.wholes, survey.bands, survey.untidiness = [state], [wholes], [keys], [untidy]
        if count_tokens is not None:
            rows = [None if seen is None else seen.row for seen in looks]
            counted = np.array(count_tokens(rows), dtype=np.uint32).reshape(-1, 2)
            survey.tokens, survey.learned = [counted[:, 0]], [counted[:, 1]]
        survey.turns, survey.asked, survey.answered = [lengths[0].astype(np.uint16)], [lengths[1]], [lengths[2]]
        return survey

    def extend(self, other: Survey) -> None:
        for name in ("state", "wholes", "bands", "untidiness", "turns", "asked", "answered", "tokens", "learned"):
            getattr(self, name).extend(getattr(other, name))
        self.habits.update({self.count + i: names for i, names in other.habits.items()})
        self.open_ends.update({self.count + i: end for i, end in other.open_ends.items()})
        self.ends.merge(other.ends, _WORDS)
        self.labels.extend(other.labels, self.count)
        self.languages.update(other.languages)
        self.unread.update(other.unread)
        self.count += other.count
        self.unreadable += other.unreadable


@dataclass(frozen=True)
class Decision:
    """`against`: what the set says against rows that spoke for themselves; `habits`: what most rows do, which is no defect."""

    dropped: NDArray[np.bool_]
    against: dict[int, list[Finding]]
    noticed: dict[int, list[Finding]]
    habits: dict[str, int]


def decide(survey: Survey, rules: Rules, parts_of: Callable[[int], Parts], name_of: Callable[[int], str]) -> Decision:
    state = np.concatenate(survey.state) if survey.state else np.zeros(0, dtype=np.uint8)
    habits = _habits(survey)
    alive = state == KEPT
    for row, names in survey.habits.items():
        alive[row] = all(name in habits for name in names)
    against: dict[int, list[Finding]] = {}
    noticed: dict[int, list[Finding]] = {}

    def judge(row: int, finding: Finding) -> None:
        if rules.action(finding.gate) == "keep":
            noticed.setdefault(row, []).append(finding)
        else:
            against.setdefault(row, []).append(finding)
            alive[row] = False

    for row, leftover in survey.labels.leftovers().items():
        if alive[row]:
            judge(row, Finding(TAGS, "leftover", leftover.shown))
    for row, kind in cut_off(survey.ends, {row: end for row, end in survey.open_ends.items() if alive[row]}).items():
        judge(row, Finding(TRUNCATED, kind, survey.open_ends[row].shown))
    if survey.state:
        wholes, keys, untidy = np.concatenate(survey.wholes), np.concatenate(survey.bands), np.concatenate(survey.untidiness)
        survey.bands.clear()  # which would be held twice, and are most of what is held
        for twin in twins(wholes, keys, untidy, alive.copy(), parts_of, rules.near):
            kind = "exact" if twin.exact else "near"
            share = "" if twin.exact else f" ({twin.likeness:.0%})"
            judge(twin.row, Finding(DUPLICATES, kind, f"{'=' if twin.exact else '≈'} {name_of(twin.stays)}{share}"))
    return Decision(~alive, against, noticed, habits)


def _habits(survey: Survey) -> dict[str, int]:
    counts = Counter(name for names in survey.habits.values() for name in names)
    return {name: count for name, count in counts.items() if survey.count >= _FEWEST and count >= _HABIT * survey.count}


def _lengths(row: Conversation) -> tuple[int, int, int]:
    answered = sum(len(m.content) for m in row.messages if m.role == "assistant" or row.is_text)
    return min(len(row.messages), 65535), sum(len(m.content) for m in row.messages) - answered, answered


def judged(rows: Sequence[Conversation], rules: Rules) -> list[list[Finding]]:
    """Everything that speaks against each of some rows in memory, as they are."""
    looks = [look(row, rules) for row in rows]
    return _reasons(looks, rules)


def tidied(
    rows: Sequence[Conversation], rules: Rules, record_of: Callable[[Conversation], Record]
) -> tuple[list[Conversation], list[tuple[Conversation, list[Finding]]]]:
    """(rows that are kept, repaired where that was to be; those that are not, and why)."""
    looks = [look(row, rules, record_of(row)) for row in rows]
    reasons = _reasons(looks, rules)
    kept = [seen.row for seen, against in zip(looks, reasons, strict=True) if not against]
    return kept, [(row, against) for row, against in zip(rows, reasons, strict=True) if against]


def _reasons(looks: Sequence[Look], rules: Rules) -> list[list[Finding]]:
    decision = decide(Survey.of(looks), rules, lambda i: Parts.of(looks[i].row), lambda i: looks[i].row.source)
    own = [[found for found in seen.against if found.habit not in decision.habits] for seen in looks]
    return [[*against, *decision.against.get(i, [])] for i, against in enumerate(own)]
