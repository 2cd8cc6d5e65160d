"""When two rows are the same, and when nearly: the same answer to the same question, but for what changes nothing."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from kitae.chat import Conversation
from kitae.data.same.code import looks_like_code

_TOKEN = re.compile(
    r"[぀-ヿ一-鿿가-힣]|[^\W_぀-ヿ一-鿿가-힣]+|(?<!\w)[-−](?=\s?\d)|[+*/=<>^%&|~\\#$€£¥]|[\u2600-\u27bf\U0001f300-\U0001faff]"
)
_CODE = re.compile(r"\n[ \t]*|\w+|[^\w\s]")
_SHOUTED = re.compile(r"\b[A-Z]{2,}\b")
_LONG = 15  # tokens: an answer that two questions do not have in common by chance
_SAME_ANSWER = 0.9
_SAME_QUESTION = 0.6  # where the answer is long and the same


def plain(text: str) -> str:
    return " ".join(text.split()).casefold()


def normalised(row: Conversation) -> str:
    """What a person would call the same row: no system message, case, or spacing; but in code all of that counts."""
    said = "\n".join(_folded(m.content) for m in row.messages if m.role != "system")
    return said if row.rejected is None else f"{said}\n{_folded(row.rejected)}"


def draw(row: Conversation, seed: int, purpose: str) -> float:
    """A number from 0 to 1 that depends on what the row says, not on where it stands; another for each purpose."""
    said = f"{seed}\n{purpose}\n{normalised(row)}".encode("utf-8", "replace")
    return int.from_bytes(hashlib.sha256(said).digest()[:8], "big") / 2**64


def _folded(text: str) -> str:
    return "\n".join(map(str.rstrip, text.split("\n"))) if looks_like_code(text) else plain(text)


def tokens(text: str) -> list[str]:
    """Words, and what has none between spaces character by character. Punctuation is nothing; signs of a formula are."""
    return _TOKEN.findall(unicodedata.normalize("NFKC", text).casefold() if not text.isascii() else text.casefold())


def untidiness(row: Conversation) -> int:
    """Of nearly the same rows the tidier one stays: fewer spaces at the ends, fewer words in capitals."""
    return sum(len(m.content) - len(m.content.strip()) + len(_SHOUTED.findall(m.content)) for m in row.messages)


def _some(cut: Callable[[str], list[str]], text: str) -> list[str]:
    """What has no tokens at all is one: a sign may be an answer."""
    return cut(text) or ([plain(text)] if text.strip() else [])


@dataclass(frozen=True)
class Parts:
    """A row as what was asked and what was answered."""

    asked: list[str]
    answer: list[str]
    code: bool = False  # in which every sign counts

    @staticmethod
    def of(row: Conversation) -> Parts:
        if row.is_text:
            return Parts([], _some(tokens, row.messages[0].content))
        asked = [token for m in row.messages if m.role not in ("assistant", "system") for token in _some(tokens, m.content)]
        answers = [m.content for m in row.messages if m.role == "assistant"] + ([row.rejected] if row.rejected else [])
        code = any(map(looks_like_code, answers))
        cut = _CODE.findall if code else tokens
        return Parts(asked, [token for answer in answers for token in _some(cut, answer)], code)

    @cached_property
    def counts(self) -> tuple[Counter[str], Counter[str]]:
        return Counter(self.asked), Counter(self.answer)


def likeness(a: Parts, b: Parts, least: float) -> float:
    """How much of two rows is the same, from `least` to 1; 0 if they are different rows."""
    (asked_a, answer_a), (asked_b, answer_b) = a.counts, b.counts
    if (asked_a == asked_b and a.asked != b.asked) or (answer_a == answer_b and a.answer != b.answer):
        return 0.0  # the same words in another order say something else
    answers = _common(answer_a, answer_b)
    if answers < (1.0 if a.code or b.code else min(least, _SAME_ANSWER)):
        return 0.0
    if _telling(asked_a) != _telling(asked_b) or (not a.asked and _telling(answer_a) != _telling(answer_b)):
        return 0.0  # another row, as similar as it looks
    questions = _common(asked_a, asked_b)
    if _replaced(asked_a, asked_b):  # one word for another asks something else, unless the answer says that it does not
        long = min(len(a.answer), len(b.answer)) >= _LONG
        same = questions >= _SAME_QUESTION and long and answers >= _SAME_ANSWER and not _replaced(answer_a, answer_b)
    else:
        same = questions >= least or (questions >= _SAME_QUESTION and answers == 1.0 and len(a.answer) >= _LONG)
    if not same:
        return 0.0
    weights = len(a.asked) + len(b.asked), len(a.answer) + len(b.answer)
    return (questions * weights[0] + answers * weights[1]) / max(1, sum(weights))


def _replaced(a: Counter[str], b: Counter[str]) -> bool:
    """Whether each has words that the other has not. Words that only one has were added."""
    return bool(a - b) and bool(b - a)


def _common(a: Counter[str], b: Counter[str]) -> float:
    total = a.total() + b.total()
    return 1.0 if not total else 2 * (a & b).total() / total


def _telling(counts: Counter[str]) -> Counter[str]:
    """Numbers and signs: one more or less is no courtesy."""
    return Counter({token: count for token, count in counts.items() if not token[0].isalpha()})
