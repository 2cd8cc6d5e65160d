"""`data.tags`, told by the set: a label that begins or ends several answers, whatever they were asked.

Markup of a prompt format that nobody has listed gives itself away beside the other rows. The same label with its signs (as in
`<reply>`, `BOT>>`, `[/end]`) stands at the edge of several answers; without it they begin and end as the others do; their
questions do not name it, and have no subject in common. What most rows have was meant.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import astuple, dataclass, field
from typing import Any

from kitae.data.clean.rules.finding import RowView

_LABEL = r"/?\w(?:[\w ./'’-]{0,28}?\w)??"
_SIGNS = r"[^\w\s]{1,6}"
_CLOSING = r"[>\]})＞】》〉」』|%~:=#@*→»]{1,6}"
_BRACKETED = r"[<\[{(＜【《〈「«‹]{1,3}[^<>\[\](){}＜＞【】「」\n]{1,40}[>\]})＞】》〉」»›]{1,3}"
_BEGUN = (
    rf"{_BRACKETED}|{_SIGNS} ?/?\w[\w ./'’-]{{0,28}}? ?{_CLOSING}|"
    rf"(?:{_SIGNS} ?)?{_LABEL} ?{_SIGNS}|[^\w\s.,]{{1,6}}{_LABEL}\b"
)
_HEAD = re.compile(rf"\s*({_BEGUN})[ \t]*(\n?)")
_LINE = re.compile(rf"\n[ \t]*({_BEGUN})")
_ENDING = re.compile(
    rf"{_BRACKETED}\s*$|"
    r"[^\w\s.。!?！？,、;)\"”’'…]{1,6} ?/?\w[\w ./'’-]{0,28} ?[^\w\s]{0,6}\s*$|\b\w{2,20}[^\w\s.。!?！？,、;)\"”’'…]{2,6}\s*$"
)
_NAME = re.compile(r"[^\W\d][\w '’-]*[:：]")
_MASK = re.compile(r"\[(?:KEY|MAIL|CARD|ACCOUNT|IDENTITY|PASSWORD|PHONE|ADDRESS)\]")  # that private data were replaced by
_TAIL = 48  # characters at the end that are looked at
_LINES = 40  # of an answer
_DIGITS = re.compile(r"\d+")
# Signs of ordinary writing: with these alone a label is a word, an item, a heading or a remark, unless on both its sides.
_ORDINARY = frozenset(".,!?;:'\"’‘“”。、，；：！？…()（）-–—*#`・•·‣「」『』/&+ _")
_ENCLOSED = re.compile(
    r"([(（「~%:#=]{1,6}|[^\w\s*\"“'`$]{2,6}|\*{3,}) ?/?\w[\w ./'’-]*[^\w\s]+|[^\w\s]{2,6}\w+|\w+(?:::|--|=>|->|>+)"
)
_SUBJECT = re.compile(r"[a-z][a-z+#]{2,}|[一-鿿]{2,}|[ァ-ヶー]{3,}")
_SUBJECTS = 24  # words of a question
_ASKED = 600  # characters of it
_SAMPLE = 128  # questions of a chunk that tell how often words are asked about
_LEAST = 3  # answers
_SHARE = 0.002  # of all answers
_MANY = 500  # answers of which a single one is less than that share
_NAMED_SHARE = 0.02  # of a word and a colon alone, which may also name a part: "Note:"
_HABIT = 0.5
_USUAL = 0.9  # of all answers: how these begin, or end, is usual
_TYPICAL = 0.7  # of the answers that begin, or end, as others do once the label is gone
_IN_COMMON = 0.5  # of the questions: a word that so many hold is their subject
_OFTENER = 3  # than elsewhere


@dataclass(frozen=True)
class Leftover:
    """What may be one, at the edge of an answer. `edge`: how the answer would begin or end without it."""

    place: str
    label: str
    edge: str
    subjects: tuple[str, ...]

    @property
    def shown(self) -> str:
        return f"{self.label} …" if self.place == "head" else f"… {self.label}"


@dataclass
class Labels:
    """Of a set: the candidates of each row, how its answers begin and end, and what questions are about."""

    rows: dict[int, list[Leftover]] = field(default_factory=dict)
    edges: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)
    questions: int = 0
    answers: int = 0

    def add(self, row: int, view: RowView) -> None:
        if view.is_text:
            return
        for exchange in view.exchanges:
            self.answers += 1
            text = exchange.answer.strip()
            self.edges["head " + _kind(text[:1])] += 1
            self.edges["tail " + _kind(text[-1:])] += 1
            if self.questions < _SAMPLE:
                self.questions += 1
                self.asked.update(_subjects(exchange.asked))
            found = [
                Leftover(place, label, edge, _subjects(exchange.asked))
                for place, label, edge in dict.fromkeys(_candidates(text))
                if label not in exchange.asked and not (place == "line" and exchange.is_about_code)
            ]
            if found:
                self.rows.setdefault(row, []).extend(found)

    def extend(self, other: Labels, at: int) -> None:
        self.rows.update({at + row: found for row, found in other.rows.items()})
        self.edges.update(other.edges)
        self.asked.update(other.asked)
        self.questions += other.questions
        self.answers += other.answers

    def pruned(self) -> Labels:
        """Of many answers: without the labels of a single row, which would fill the memory and make no share of them."""
        if self.answers >= _MANY:
            rows_with = Counter(label for found in self.rows.values() for label in {(each.place, each.label) for each in found})
            kept = {row: [each for each in found if rows_with[each.place, each.label] > 1] for row, found in self.rows.items()}
            self.rows = {row: found for row, found in kept.items() if found}
        return self

    def plain(self) -> list[Any]:
        """For JSON; `of_plain` reads it."""
        rows = [(row, [[*astuple(leftover)] for leftover in found]) for row, found in self.rows.items()]
        return [rows, self.edges, self.asked, self.questions, self.answers]

    @staticmethod
    def of_plain(told: list[Any]) -> Labels:
        rows, edges, asked, questions, answers = told
        found = {row: [Leftover(place, label, edge, tuple(about)) for place, label, edge, about in each] for row, each in rows}
        return Labels(found, Counter(edges), Counter(asked), questions, answers)

    def leftovers(self) -> dict[int, Leftover]:
        """Of each row that has one."""
        carriers: defaultdict[tuple[str, str], list[tuple[int, Leftover]]] = defaultdict(list)
        for row, found in self.rows.items():
            for leftover in found:
                carriers[leftover.place, leftover.label].append((row, leftover))
        verdicts: dict[int, Leftover] = {}
        for (place, label), found_in in carriers.items():
            least = max(_LEAST, (_NAMED_SHARE if _NAME.fullmatch(label) else _SHARE) * self.answers)
            if (
                least <= len(found_in) < _HABIT * self.answers
                and self._detaches(place, found_in)
                and self._is_about(found_in) is None
            ):
                verdicts.update(found_in)
        return verdicts

    def _detaches(self, place: str, found_in: list[tuple[int, Leftover]]) -> bool:
        """Without the label, the answers begin or end as others do."""
        side = "tail " if place == "tail" else "head "
        carried = Counter(leftover.edge for _, leftover in found_in)
        all_of = {kind: count for kind, count in self.edges.items() if kind.startswith(side)}
        total = sum(all_of.values())
        usual, covered = set(), 0
        for kind, count in sorted(all_of.items(), key=lambda item: -item[1]):
            if covered < _USUAL * total:
                usual.add(kind.removeprefix(side))
                covered += count
        return sum(count for edge, count in carried.items() if edge in usual) >= _TYPICAL * len(found_in)

    def _is_about(self, found_in: list[tuple[int, Leftover]]) -> str | None:
        """What the questions have in common, which others have not: then the label belongs to the subject."""
        words = Counter(word for _, leftover in found_in for word in set(leftover.subjects))
        for word, count in words.most_common(8):
            share, elsewhere = count / len(found_in), self.asked[word] / max(1, self.questions)
            if share >= _IN_COMMON and share >= _OFTENER * elsewhere:
                return word
        return None


def _candidates(text: str) -> Iterator[tuple[str, str, str]]:
    """(place, label, how the answer would begin or end without it)."""
    if head := _HEAD.match(text):
        yield from _named("head", head[1], _kind(text[head.end() :].lstrip()[:1]))
    at = max(0, len(text) - _TAIL)
    if tail := _ENDING.search(text, at):
        yield from _named("tail", tail.group(), _kind(text[: tail.start()].rstrip()[-1:]))
    if "\n" in text:
        for count, line in enumerate(_LINE.finditer(text)):
            if count >= _LINES:
                break
            yield from _named("line", line[1], _kind(text[line.end() :].lstrip()[:1]))


def _named(place: str, label: str, edge: str) -> Iterator[tuple[str, str, str]]:
    label = _DIGITS.sub("0", label.strip())
    signs = [char for char in label if not char.isalnum()]
    if sum(map(str.isalpha, label)) < 2 or _MASK.search(label) or not _is_whole(place, label):
        return
    named = place != "tail" and _NAME.fullmatch(label)
    if named or _ENCLOSED.fullmatch(label) or any(char not in _ORDINARY for char in signs):
        yield place, label, edge


def _is_whole(place: str, label: str) -> bool:
    """Not cut out of `Dear [Name]`; nor the end of an element that began within the answer."""
    return all(label.count(pair[0]) == label.count(pair[1]) for pair in ("[]", "{}", "()")) and not (
        place == "line" and label[1:2] == "/"
    )


def _kind(character: str) -> str:
    if not character:
        return "nothing"
    if character.isascii() and character.isalpha():
        return "A" if character.isupper() else "a"
    if character.isdigit():
        return "0"
    if character.isalpha():
        return "letter"
    return "end" if character in ".!?。！？" else character


def _subjects(asked: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_SUBJECT.findall(asked[-_ASKED:].lower())))[:_SUBJECTS]
