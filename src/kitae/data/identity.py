"""When two rows are the same, and when nearly: the same answer to the same question, but for what changes nothing."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from functools import cached_property

from kitae.chat import Conversation
from kitae.data.rules.finding import looks_like_code

_TOKEN = re.compile(r"[぀-ヿ一-鿿가-힣]|[^\W_぀-ヿ一-鿿가-힣]+|[+*/=<>^%&|~\\]")
_CODE = re.compile(r"\w+|[^\w\s]")
_SPACES = re.compile(r"\s+")
_SHOUTED = re.compile(r"\b[A-Z]{2,}\b")
_LONG = 15  # tokens: an answer that two questions do not have in common by chance
_SAME_ANSWER = 0.9
_SAME_QUESTION = 0.6  # where the answer is long and the same


def plain(text: str) -> str:
    return _SPACES.sub(" ", text).strip().casefold()


def normalised(row: Conversation) -> str:
    """What a person would call the same row: no system message, case, or spacing."""
    said = "\n".join(plain(m.content) for m in row.messages if m.role != "system")
    return said if row.rejected is None else f"{said}\n{plain(row.rejected)}"


def tokens(text: str) -> list[str]:
    """Words, and what has none between spaces character by character. Punctuation is nothing; signs of a formula are."""
    return _TOKEN.findall(unicodedata.normalize("NFKC", text).casefold() if not text.isascii() else text.casefold())


def untidiness(row: Conversation) -> int:
    """Of nearly the same rows the tidier one stays: fewer spaces at the ends, fewer words in capitals."""
    return sum(len(m.content) - len(m.content.strip()) + len(_SHOUTED.findall(m.content)) for m in row.messages)


@dataclass(frozen=True)
class Parts:
    """A row as what was asked and what was answered."""

    asked: list[str]
    answer: list[str]
    code: bool = False  # in which every sign counts

    @staticmethod
    def of(row: Conversation) -> Parts:
        if row.is_text:
            return Parts([], tokens(row.messages[0].content))
        asked = [token for m in row.messages if m.role not in ("assistant", "system") for token in tokens(m.content)]
        answers = [m.content for m in row.messages if m.role == "assistant"] + ([row.rejected] if row.rejected else [])
        code = any(map(looks_like_code, answers))
        cut = _CODE.findall if code else tokens
        return Parts(asked, [token for answer in answers for token in cut(answer)], code)

    @cached_property
    def counts(self) -> tuple[Counter[str], Counter[str]]:
        return Counter(self.asked), Counter(self.answer)


def likeness(a: Parts, b: Parts, least: float) -> float:
    """How much of two rows is the same, from `least` to 1; 0 if they are different rows."""
    (asked_a, answer_a), (asked_b, answer_b) = a.counts, b.counts
    answers = _common(answer_a, answer_b)
    if answers < (1.0 if a.code or b.code else min(least, _SAME_ANSWER)):
        return 0.0
    if _numbers(asked_a) != _numbers(asked_b):  # another question, as similar as it looks
        return 0.0
    questions = _common(asked_a, asked_b)
    if answers >= _SAME_ANSWER and min(len(a.answer), len(b.answer)) >= _LONG:
        same = questions >= _SAME_QUESTION
    else:  # one word for another asks something else
        same = questions >= least and not ((asked_a - asked_b) and (asked_b - asked_a))
    if not same:
        return 0.0
    weights = len(a.asked) + len(b.asked), len(a.answer) + len(b.answer)
    return (questions * weights[0] + answers * weights[1]) / max(1, sum(weights))


def _common(a: Counter[str], b: Counter[str]) -> float:
    total = a.total() + b.total()
    return 1.0 if not total else 2 * (a & b).total() / total


def _numbers(counts: Counter[str]) -> Counter[str]:
    return Counter({token: count for token, count in counts.items() if token[0].isdigit()})
