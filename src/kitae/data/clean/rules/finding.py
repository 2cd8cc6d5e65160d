"""What a rule found in a row, and the row as rules see it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from kitae.chat import Conversation
from kitae.data.same import looks_like_code

_AROUND = 24
_LONGEST = 160
_REMEMBERED = 6000  # characters of what was said before an answer


@dataclass(frozen=True)
class Exchange:
    """An answer, and what the user and the system had said until then."""

    asked: str
    answer: str

    @cached_property
    def is_about_code(self) -> bool:
        return bool(_CODE_ASKED.search(self.asked)) or looks_like_code(self.answer)

    @cached_property
    def is_about_markup(self) -> bool:
        return bool(_MARKUP_ASKED.search(self.asked))


class RowView:
    def __init__(self, row: Conversation) -> None:
        self.row = row
        self.is_text = row.is_text

    @cached_property
    def exchanges(self) -> list[Exchange]:
        if self.is_text:
            return []
        found, said = [], ""
        for message in self.row.messages:
            if message.role == "assistant":
                found.append(Exchange(said, message.content))
            else:
                said = f"{said}\n{message.content}"[-_REMEMBERED:].lstrip("\n")
        return found  # a worse answer of a preference may be as bad as it likes

    @cached_property
    def said(self) -> list[str]:
        """What nobody is to learn: messages of the user and the system; or a plain text."""
        return [message.content for message in self.row.messages if message.role != "assistant"]

    @cached_property
    def texts(self) -> list[str]:
        worse = [] if self.row.rejected is None else [self.row.rejected]
        return [*(message.content for message in self.row.messages), *worse]


_CODE_ASKED = re.compile(
    r"\b(?:unit tests?|"
    r"code|coding|programs?|programming|scripts?|functions?|javascript|typescript|python|java|php|sql|quer(?:y|ies)|"
    r"ruby|golang|rust|kotlin|swift|perl|bash|shell|regex|regular expressions?|algorithms?|api|json|yaml|implement|compiles?|"
    r"components?|variables?|arrays?|html|xml|css|jsx|react|node\.?js|latex|markdown|c\+\+|c#)(?!\w)"
    r"|コード|プログラム|関数|スクリプト|正規表現|タグ",
    re.IGNORECASE | re.ASCII,  # Japanese stands right beside such words
)
_MARKUP_ASKED = re.compile(
    r"\b(?:x?html5?|xml|css|svg|jsx|react|vue|angular|markup|tags?|elements?|web ?(?:page|site|app)s?|snippets?|rss|latex|"
    r"bbcode|markdown|bootstrap|dom|node\.?js|php|javascript|wrap(?:ped|ping)?|enclosed?)\b|タグ|マークアップ|ウェブ|ホームページ|要素",
    re.IGNORECASE | re.ASCII,
)


def excerpt(text: str, start: int, end: int) -> str:
    """What was found, with what stands around it, on one line."""
    shown = text[max(0, start - _AROUND) : min(end, start + _LONGEST) + _AROUND]
    before = "…" if start > _AROUND else ""
    after = "…" if end + _AROUND < len(text) else ""
    seen = "".join(char if char.isprintable() else repr(char)[1:-1] for char in " ".join(shown.split()))
    return before + seen + after
