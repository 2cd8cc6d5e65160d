"""What of written tasks and answers is not kept, and why."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from kitae.chat import Conversation, Message
from kitae.data import Evaluations, Finding, Rules, look, plain, tokens

ALIKE = 0.7  # ROUGE-L from which a task is one of those that there are
_NO_GAIN = 0.9  # and from which it is its parent in other words
_WORDS = (4, 150)
_CHARACTERS = (6, 400)  # of languages without spaces
_MEDIA = re.compile(
    r"\b(?:images?|(?<!big )pictures?|photos?|photographs?|videos?|audio|diagrams?|flowcharts?|attached|attachments?"
    r"|(?:the|this|following) (?:file|graph|chart|map)|(?:click|follow|open) (?:the |this )?link)\b"
    r"|画像|写真|動画|音声|添付|ファイル|グラフを?[描書]|図を?[描書]",
    re.IGNORECASE,
)
_CODE = re.compile(
    r"\b(?:function|program|code|script|python|java|sql|html|css|regex|algorithm|class|method)\b|関数|プログラム|コード",
    re.IGNORECASE,
)
_META = re.compile(
    r"\b(?:given|rewritten|original|new|above|previous|following) (?:task|prompt|instruction)\b|#\s*(?:task|prompt|instruction)"
    r"|(?:元の|与えられた|上記の|書き換えた|新しい)(?:課題|プロンプト|指示)",
    re.IGNORECASE,
)
_REFUSAL = re.compile(
    r"^\W*(?:I['’]m sorry|I am sorry|sorry[,.]|I (?:can(?:no|['’])t|am (?:not able|unable))|unfortunately, I"
    r"|as an? (?:AI|language model)|申し訳|すみません|恐れ入りますが|お答えできません|AI(?:言語モデル)?として)",
    re.IGNORECASE,
)
_SHORT = 80  # words of what is nothing but a refusal
_RESULT = (  # where an answer marks what it comes to
    re.compile(r"####\s*(.+)"),
    re.compile(r"\b(?:final )?answer(?:\s+is|\s*[:=])\s*(.+)|(?:答え|解答|正解)\s*(?:は|[:：])\s*(.+)", re.IGNORECASE),
)
_NUMBER = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?(?:\s*/\s*\d+)?")
_FRACTION = re.compile(r"\\[dt]?frac\{(-?\d+)\}\{(\d+)\}")


def rouge_l(a: Sequence[str], b: Sequence[str]) -> float:
    """F-measure of the longest common subsequence."""
    if not a or not b:
        return 0.0
    return 2 * _common(a, b) / (len(a) + len(b))


def _common(a: Sequence[str], b: Sequence[str]) -> int:
    """Its length, with a bit for each token of `a`: all of a row of the table at once."""
    places: dict[str, int] = {}
    for i, token in enumerate(a):
        places[token] = places.get(token, 0) | 1 << i
    row = (1 << len(a)) - 1
    for token in b:
        matches = row & places.get(token, 0)
        row = ((row + matches) | (row - matches)) & ((1 << len(a)) - 1)
    return len(a) - row.bit_count()


class Likeness:
    """The task most like another, of many. Those that cannot be alike enough are not compared."""

    def __init__(self) -> None:
        self._known: list[tuple[list[str], Counter[str], str]] = []

    def add(self, question: str, where: str) -> None:
        said = tokens(question)
        self._known.append((said, Counter(said), where))

    def nearest(self, question: str, least: float) -> tuple[float, str] | None:
        said = tokens(question)
        counts = Counter(said)
        best: tuple[float, str] | None = None
        for other, others, where in self._known:
            total = len(said) + len(other)
            if not total or 2 * min(len(said), len(other)) <= least * total or 2 * (counts & others).total() <= least * total:
                continue
            found = rouge_l(said, other)
            if found > least and (best is None or found > best[0]):
                best = (found, where)
        return best


@dataclass
class Sieve:
    known: Likeness
    evaluations: Evaluations | None = None
    languages: tuple[str, ...] = ()

    def question(self, text: str, parent: str | None) -> Finding | None:
        """`parent`: of a task that has to be more than that."""
        for rule in (_length, _media, _meta):
            if (finding := rule(text)) is not None:
                return finding
        if parent is not None and (alike := rouge_l(tokens(text), tokens(parent))) > _NO_GAIN:
            return Finding("synth.no-gain", "words", f"{alike:.0%}: {text[:80]}")
        near = self.known.nearest(text, _NO_GAIN if parent is not None else ALIKE)
        if near is not None:
            return Finding("synth.similar", "question", f"{near[1]} ({near[0]:.0%})")
        row = Conversation((Message("user", text),))
        return self.evaluations.find(row) if self.evaluations else None

    def row(self, row: Conversation) -> list[Finding]:
        """By the rules for all rows, and those for written ones."""
        refused = _refusal(row.answer)
        rules = Rules(languages=self.languages, evaluations=self.evaluations)
        return [*([refused] if refused else []), *look(row, rules).against]


def _length(text: str) -> Finding | None:
    said = tokens(text)
    spaced = sum(len(token) == 1 for token in said) * 2 <= len(said)
    least, most = _WORDS if spaced else _CHARACTERS
    if not least <= len(said) <= most:
        return Finding("synth.length", "question", f"{len(said)}: {text[:60]}")
    return None


def _media(text: str) -> Finding | None:
    found = _MEDIA.search(text)
    return Finding("synth.impossible", "media", found[0]) if found and not _CODE.search(text) else None


def _meta(text: str) -> Finding | None:
    found = _META.search(text)
    return Finding("synth.meta", "words", found[0]) if found else None


def _refusal(text: str) -> Finding | None:
    found = _REFUSAL.search(text)
    return Finding("synth.refusal", "answer", text.strip()[:60]) if found and len(tokens(text)) < _SHORT else None


def agreed(answers: Sequence[str]) -> tuple[int, int]:
    """(index of the first answer that ends as most do, how many do)"""
    ends = [final(answer) for answer in answers]
    common, count = Counter(ends).most_common(1)[0]
    return ends.index(common), count


def final(answer: str) -> str:
    """What an answer comes to: what it marks as its result, else its last number, else its last line."""
    boxed = _boxed(answer)
    if boxed is not None:
        return _value(boxed)
    for pattern in _RESULT:
        if found := pattern.findall(answer):
            last = found[-1]
            return _value(last if isinstance(last, str) else next(part for part in last if part))
    numbers = _NUMBER.findall(_FRACTION.sub(r"\1/\2", answer))
    lines = [line for line in answer.split("\n") if line.strip()]
    return _value(numbers[-1] if numbers else lines[-1] if lines else "")


def _boxed(text: str) -> str | None:
    """The inside of the last box, braces and all."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    depth, begin = 1, start + len("\\boxed{")
    for i in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[i], 0)
        if not depth:
            return text[begin:i]
    return text[begin:]


def _value(text: str) -> str:
    """As a number where there is one and no other, so that 4 and 4.0 are the same; else as it is written."""
    text = _FRACTION.sub(r"\1/\2", text.split("\n")[0])
    numbers = _NUMBER.findall(text)
    if len(numbers) == 1:
        try:
            return str(Fraction(re.sub(r"[,\s]", "", numbers[0])))
        except (ValueError, ZeroDivisionError, ArithmeticError):
            pass
    return plain(text).strip(" .。*$")
