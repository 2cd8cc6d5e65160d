"""`data.empty`: a question or an answer in which nothing is said."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from kitae.data.clean.rules.finding import Exchange, RowView
from kitae.data.read.finding import Finding

GATE = "data.empty"
_STANDS_FOR_NOTHING = re.compile(
    r"[\s<\[({（「\"'*_-]*(?:#?n\s*/\s*a|n\.a\.?|none[ _-](?:given|provided|available)|(?:as|see) above|"
    r"(?:answer|response|output|回答|出力)\s*[:：]|"
    r"no[ _-]?(?:input|output|answer|response|content|text|data)|empty[ _-]?string|"
    r"todo|tbd|to be (?:added|filled|done|written)|(?:insert|add|your|write|enter)[ _-](?:your[ _-])?(?:answer|"
    r"text|response|output)(?: here)?|(?:answer|text|response|output)[ _-](?:goes[ _-])?here|(?-i:x{3,})|"
    r"(?:todo|tbd|fixme)\s*[:：-]\s*(?:write|add|fill|answer|complete)\b[^.\n]{0,40}|"
    r"k\. ?a\.?|keine angabe|à compléter|por completar|"
    r"object object|後で(?:書く|記入|追記)(?:する|します)?|(?:待补充|暂无|省略)|([○〇●△□])\1{2,}|"
    r"```\w*\s*```|(?:\d{1,2}[.)]\s*(?:\n|$)){3,}|"
    r"lorem ipsum\b.*|not (?:available|applicable|provided)|"
    r"(?:回答|出力|入力|内容)?(?:なし|無し|未入力|未記入|未回答|無回答|未定|該当なし|空欄)|ここに.{1,8}入力(?:してください)?)"
    r"[\s>\])}）」\"'*_.。!-]*",
    re.IGNORECASE | re.DOTALL,
)
_FILLERS = "\ufffc\u3164\u115f\u1160\uffa0\u2800"  # letters and signs by their class, that show nothing
_ONLY_MARKUP = re.compile(r"(?:\s|&nbsp;|&#160;|</?(?:br|p|div|span|hr)\s*/?>)+", re.IGNORECASE)
# Words that answer many a question, but not between brackets.
_BRACKETED = re.compile(
    r"\s*[<\[({（「]\s*(?:deleted|removed|answer|empty|blank|placeholder|error)\s*[>\])}）」]\s*"
    r"|\s*[（(［\[]\s*(?:空白?|省略|削除|無記入)\s*[）)］\]]\s*",
    re.IGNORECASE,
)
# What is also a true answer to a question of logic or of code.
_MAY_BE_MEANT = re.compile(
    r"[\s<\[({\"'*]*(?:none|null|nil|nan|undefined|void|特に(?:なし|無し))[\s>\])}\"'*.]*", re.IGNORECASE
)
_ASKS_FOR_NOTHING = re.compile(
    r"\b(?:which|any|none|null|nil|nan|undefined|return|returns|output|print|evaluate|value|exist|exists|either|neither|choose|"
    r"options?|classify|extract|find|list|identify|how many|what is the (?:output|result))\b"
    r"|どれ|いずれ|ありますか|歴|アレルギー|要望|備考",
    re.IGNORECASE,
)
_ABOUT_NOTHING = re.compile(
    r"\b(?:mean(?:s|ing)?|stands? for|abbreviat\w*|lorem|placeholder|json|\d+ ?/ ?0)\b|該当|あれば|なければ|意味", re.IGNORECASE
)
_ASKS_FOR_SIGNS = re.compile(
    r"\b(?:morse|emoticons?|punctuation|ellips[ei]s|(?:question|exclamation|quotation) marks?|dots?|asterisks?|"
    r"(?:which|what) (?:character|sign|operator)|wildcards?|"
    r"symbols?|brackets?|parenthes[ei]s|separators?|dash(?:es)?|draw\b.*\bline)\b"
    r"|記号|句読点|読点|句点|括弧|モールス|顔文字|線を引",
    re.IGNORECASE,
)
_NOTHING_IN_IT = re.compile(r"\[\]|\(\)|\{\}|\"\"|''")
_ASKS_FOR_A_VALUE = re.compile(r"\b(?:returns?|outputs?|prints?|evaluates?|empty|json)\b|空の|返", re.IGNORECASE)
# What whoever wrote the answers was told instead of one.
_FAILED = re.compile(
    r"\s*(?:error:? ?\(?[45]\d\d\b|rate limit reached|[45]\d\d (?:bad gateway|too many requests|internal server error)|"
    r"traceback \(most recent call last\)|"
    r"(?:(?:oops|sorry|whoops|uh-oh)[,!. ]+)?(?:something went wrong|"
    r"(?:an? |there was an )(?:unexpected |internal |network )?error (?:has )?(?:occurred|generating|processing)[^.\n]{0,40})"
    r"[.! ]*(?:(?:please )?(?:try|retry|reload|refresh|contact|if)\b.{0,80})?$|エラーが発生しました.{0,40}$|"
    r"(?:申し訳.{0,16})?回答を(?:生成|作成)できません(?:でした)?.{0,20}$|"
    r"regenerate response\s*$|copy code\s*$)",
    re.IGNORECASE,
)
_ABOUT_ERRORS = re.compile(
    r"\b(?:errors?|messages?|notices?|notifications?|translat\w*|phrases?)\b|訳|エラー|通知|メッセージ", re.IGNORECASE
)
_ABOUT_SPACE = re.compile(r"\b(?:spaces?|lines?|breaks?|entit(?:y|ies))\b|改行|空白", re.IGNORECASE)


def find(view: RowView) -> Iterator[Finding]:
    if view.is_text:
        return
    if not any(_says_something(text) for text in view.said):
        yield Finding(GATE, "no-question", repr(view.said[-1][:40]) if view.said else "–")
    if not view.exchanges:
        yield Finding(GATE, "no-answer", repr(view.said[-1][-40:]) if view.said else "–")
    for exchange in view.exchanges:
        if _is_placeholder(exchange) or not (_says_something(exchange.answer) or _is_asked_for(exchange)):
            yield Finding(GATE, "no-answer", repr(exchange.answer[:60]))


def _says_something(text: str) -> bool:
    """Letters, numbers and signs do; spaces and punctuation alone do not."""
    return any(unicodedata.category(character)[0] in "LNS" and character not in _FILLERS for character in text)


def _is_placeholder(exchange: Exchange) -> bool:
    text = exchange.answer
    if len(text) > 400:
        return False
    if _FAILED.match(text) and not exchange.is_about_code and not _ABOUT_ERRORS.search(exchange.asked):
        return True
    if _ONLY_MARKUP.fullmatch(text) and not exchange.is_about_markup and not _ABOUT_SPACE.search(exchange.asked):
        return True
    if _STANDS_FOR_NOTHING.fullmatch(text) or _BRACKETED.fullmatch(text):
        return not _named(exchange) and not _ABOUT_NOTHING.search(exchange.asked)
    if not _MAY_BE_MEANT.fullmatch(text):
        return False
    return not (_ASKS_FOR_NOTHING.search(exchange.asked) or _ABOUT_NOTHING.search(exchange.asked) or exchange.is_about_code)


def _is_asked_for(exchange: Exchange) -> bool:
    """Nothing but signs: an empty list or text that code returns, or signs that were to be named."""
    signs = "".join(exchange.answer.split())
    if _NOTHING_IN_IT.fullmatch(signs):
        return bool(_ASKS_FOR_A_VALUE.search(exchange.asked))
    return bool(signs) and bool(_ASKS_FOR_SIGNS.search(exchange.asked))


def _named(exchange: Exchange) -> bool:
    """Whether the question offers this very answer."""
    word = re.sub(r"\W", "", exchange.answer).casefold()
    return bool(word) and word in re.sub(r"[^\w\s]", "", exchange.asked).casefold().split()
