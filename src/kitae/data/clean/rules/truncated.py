"""`data.truncated`: an answer that breaks off.

Some ends give themselves away. Others are known from the set: no sentence of it ends with that word, or it is the beginning of
a longer word and no word itself. So the rule for rows says what an end might be, and the words of all rows decide.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from kitae.data.clean.rules.endings import INFLECTIONS, SPACED, UNSPACED, OpenEnd
from kitae.data.clean.rules.finding import Exchange, RowView
from kitae.data.read.finding import Finding
from kitae.data.same import looks_like_code

GATE = "data.truncated"
_ENDED = tuple(".!?。！？…‥\"”'’」』)）]】〉》}>`*_~|;；%％℃°™®©♪^$=＝|\\")
_HANGING = re.compile(
    r"(?:\b(?:the|an?|and|or|but|of|with|from|which|whose|their|its|our|into|because|while|although|than|nor|via|between|is|are|"
    r"der|die|das|und|oder|mit|von|le|les|des|et|el|los|las|y|para)|[,、，:：(（\[「『“‘&–—-]|[がをはへ])$",
    re.IGNORECASE,
)
# What may end an answer to "where" or "when", but no sentence after others.
_PARTICLE = re.compile(r"[にでのや]$")
# With which people leave off, and mean to.
_LEFT_OPEN = re.compile(
    r"(?:ので|のに|[すただんい]が|[いうくすただつぬふむるれん](?:の|もの)|なの|ても|でも|れども|には|では|とは|かも|など|けど|、、)$"
)
_ANY_JAPANESE_END = re.compile(r"[、ぁ-ゖ]$")
_CHAT = 3  # answers from which on a talk is one between people, who end a message with any word
# How letters begin and end, and how keys and certificates do.
_LETTER = re.compile(
    r"(?:^|\n)(?:Dear|Hello|Hi|To whom|With (?:\w+ )?(?:gratitude|regards|love|thanks|wishes)|Best|Kind|Warm|Yours|"
    r"Sincerely|Regards|Thanks|Respectfully|Cheers|Love)\b[^,:.\n]{0,40}[,:]$|-----$"
)
# A phrase may end so: "what is it made of", "tell me who they are".
_MAY_END = re.compile(r"\b(?:of|with|from|is|are)$", re.IGNORECASE)
_SENTENCE_END = re.compile(r"(?<=[a-z0-9)\"”'’%])[.!?]['\")”’]?\s+(?=[A-Z0-9\"“'(])|[。！？]")
_ABBREVIATED = re.compile(
    r"\b(?:[A-Z]|Mr|Mrs|Ms|Dr|Prof|St|Mt|Ft|Jr|Sr|vs|No|Inc|Ltd|Co|Corp|etc|e\.g|i\.e|approx|ca|Vol|pp?|Op|feat|ft|\d)$"
)
_CODE_SIGNS = re.compile(r"[=(){};$<>\[\]]|^\s*(?:def|echo|#!)")
# A sentence that stops after one or two words, of which the first has never been one.
_BEGUN = re.compile(
    r"[a-z0-9)\"”][.!?][\"”]?\s+(?:The|It|Its|This|These|He|She|They|His|Her|Their|In|For|On|At|By|From|A|An|However|But|And|If|When|"
    r"While|As|There|Because|Although|Since)(?: [a-z]\w*)?$"
)
_BEGUN_LINE = re.compile(
    r"[a-z0-9)\"”][.!?][\"”]?\s*\n\s*(?:The|It|Its|This|These|He|She|They|However|But|And|If|When|Because)$"
)
_CODE_STRING = re.compile(r"\"{3}[\s\S]*?\"{3}|'{3}[\s\S]*?'{3}|\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`")
_CODE_NOTE = re.compile(r"//[^\n]*|#[^\n]*|/\*[\s\S]*?\*/|<!--[\s\S]*?-->")
# Operators and words of programming languages after which something must follow.
_WANTS_MORE = re.compile(
    r"(?:[=&|<(\[{\\]|(?<=\w),|(?<=\w )[+*/-]|(?<![-\w])(?<!end )(?<!END )(?:in|is|not|and|or|if|elif|for|while|def|class|"
    r"import|from|AS|ON|IN|AND|OR|WHERE|FROM|SELECT|BY|JOIN|SET|INTO|VALUES|new|const|let|var|function|public|private|static))$"
)
_NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_COUNTED = re.compile(
    r"\b(?:give|name|list|tell|provide|suggest)"
    r"(?: (?:me|us|the|a|list|names?|of|at|least|any|some|just|exactly|top|first|following))*"
    rf" (\d{{1,2}}|{'|'.join(_NUMBERS)}) (?!or\b|and\b|to\b|percent|%)[^.?!\n]*[.?!]?\s*$",
    re.IGNORECASE,
)
_LIST, _MOST_NAMES = 200, 40  # characters of a list in one line; things that a question names
_OBJECT = re.compile(r"\s*[\[{][\[{\s]*\"\w+\"\s*:")
_STRING = re.compile(r"\"(?:[^\"\\]|\\.)*\"")
_ITEM = re.compile(r"^\s*(?:[-*•‣·–—]|\(?\d{1,3}[.):]|[a-zA-Z][.)]|#+)\s*")
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_LAST_WORD = re.compile(r"(?<![\w@/.#'’])([^\W\d_]+)$")
_BEFORE_LETTER = re.compile(
    r"\b(?:the|an?|and|or|of|with|from|to|in|on|is|are|was|were|has|have|that|for|by|at) \w$", re.IGNORECASE
)
# An item of a list within a line, and who said what is quoted.
_NAMED = re.compile(r"(?:\S \d{1,3}[.)] ?[A-Z]\S*(?: \S+){0,2}|[-–—] ?[A-Z]\w+(?: [A-Z]\w+){1,3})$")
_HIRAGANA = re.compile("[ぁ-ゖ]")
_FORMULA = re.compile(r"[=^]|\d\s*[+*/x]\s*\d|\b[b-hj-z]\b.*\b[b-hj-z]\b")
_FEW_WORDS = 4
_LONG, _LONG_UNSPACED = 7, 24  # words, or characters, of what reads as a sentence
_SHORT = 12  # characters that an abbreviation may have
_TAIL = 48  # characters at the end that are looked at for its last words
_ABOVE = 6  # lines before the last that are looked at
_LISTED, _FEW_NAMES = 3, 3  # commas of a line of names; words of an answer that may be one

# "Tell me whether these are fish: cod, whale" wants to know it of each.
_EACH_ASKED = re.compile(r"\b(?:whether|classify|categori[sz]e|each|label|sort|identify which\b.*\bor)\b", re.IGNORECASE)


def find(view: RowView) -> Iterator[Finding]:
    """What the row alone gives away."""
    chat = len(view.exchanges) >= _CHAT
    for exchange in view.exchanges:
        kind = _kind(exchange)
        if kind and not (kind == "hanging" and chat and _ANY_JAPANESE_END.search(exchange.answer.rstrip()[-1:])):
            yield Finding(GATE, kind, _shown(exchange.answer))


def open_end(view: RowView) -> OpenEnd | None:
    """What only the set can tell: of the last answer."""
    if not view.exchanges:
        return None
    exchange = view.exchanges[-1]
    text = exchange.answer.rstrip()
    found = _LAST_WORD.search(text, max(0, len(text) - _TAIL))
    if found is None or _is_code(exchange):
        return None
    word = found.group(1)
    others = _WORD.findall(f"{exchange.asked}\n{text[: found.start()]}")
    last = text.rsplit("\n", 1)[-1]
    goes_on = _goes_on(text, last)
    pair = text[-2:] if UNSPACED.fullmatch(text[-2:]) else ""
    # Where words have no spaces around them, a longer piece of text may begin with a word, which alone is a whole answer.
    known = word in others or word.lower() in others or not SPACED.fullmatch(word)
    begins = not known and any(_goes_on_as(word, other) for other in others)
    formula = bool(_FORMULA.search(f"{exchange.asked} {text}"))
    letter = word.islower() and not formula and bool(_BEFORE_LETTER.search(last[-_TAIL:]))
    if len(view.exchanges) >= _CHAT or (len(word) == 1 and not pair and formula):
        return None
    words = len(text.split())
    if word.islower() and words == 1 and not pair and not begins:  # what fills a gap
        return None
    above = [line.rstrip() for line in text.split("\n")[-_ABOVE:-1] if line.strip()]
    unmarked = any(line[-1].isalnum() for line in above)  # lines of a list or of verse, which need no mark
    names = _SENTENCE_END.split(last)[-1].count(",") >= _LISTED or words <= _FEW_NAMES or bool(_NAMED.search(last[-_TAIL:]))
    long = len(last) >= _LONG_UNSPACED if pair else len(last.split()) > _LONG
    goes_on = goes_on and (long or bool(_SENTENCE_END.search(last)))  # and does not sign a letter
    shape = (
        "lines"
        if unmarked and len(last.split()) <= _FEW_NAMES
        else "names"
        if names and not pair
        else "sentence"
        if goes_on
        else "long"
        if long and not unmarked
        else "short"
    )
    if pair and (shape in ("short", "lines") or not _HIRAGANA.search(last)):  # without any, it is a name and no sentence
        return None
    return OpenEnd(word, pair, shape, begins, letter, _shown(text))


def is_long(view: RowView) -> bool:
    """Whether the last answer has the length of a sentence."""
    text = view.exchanges[-1].answer if view.exchanges else ""
    return len(text.split(None, _LONG)) > _LONG or (not text.isascii() and len(text) >= _LONG_UNSPACED)


def _goes_on_as(word: str, other: str) -> bool:
    rest = other[len(word) :]
    return len(word) >= 3 and other.lower().startswith(word.lower()) and len(rest) >= 2 and rest not in INFLECTIONS


def _is_code(exchange: Exchange) -> bool:
    return looks_like_code(exchange.answer) or (bool(_CODE_SIGNS.search(exchange.answer)) and exchange.is_about_code)


def _shown(text: str) -> str:
    return f"…{text.rstrip()[-60:]!r}"


def _kind(exchange: Exchange) -> str | None:
    text = exchange.answer.rstrip()
    if not text:
        return None
    if text.count("```") % 2:
        return "open-fence"
    if _breaks_off_lines(text) or _is_half_an_object(text):
        return "unclosed"
    if _is_code(exchange):
        return _in_code(text)
    if text.endswith(_ENDED) or not (text[-1].isalnum() or _HANGING.search(text[-_TAIL:])):
        return None
    last = text.rsplit("\n", 1)[-1]
    words = len(text.split()) if " " in text else len(text) // 2
    left_open = _LEFT_OPEN.search(last) or _LETTER.search(text[-_TAIL:])
    hanging = _HANGING.search(last[-_TAIL:]) if words >= _FEW_WORDS and not left_open else None
    label = hanging is not None and hanging.group() == "A"  # an article would be a small letter here
    if hanging and not label and (not hanging.group().isalpha() or not _MAY_END.search(last[-_TAIL:]) or _goes_on(text, last)):
        return "hanging"
    if _PARTICLE.search(last) and not _LEFT_OPEN.search(last) and "。" in text and _goes_on(text, last):
        return "hanging"
    if _unclosed(last):
        return "unclosed"
    if _BEGUN.search(last[-_TAIL:]) or _BEGUN_LINE.search(text[-_TAIL:]):
        return "within-sentence"
    if _leaves_out(exchange.asked, text) or _too_few(exchange.asked, text):
        return "unanswered"
    return None


def _in_code(text: str) -> str | None:
    """Brackets that nothing closes, or an operator that wants another side. What is fenced ends with its fence."""
    if "```" in text or text.endswith((".", "!", "?", "$", "\\]")):  # prose, or formulas
        return None
    if _WANTS_MORE.search(text[-_TAIL:]):
        return "hanging"
    bare = _CODE_STRING.sub("", text)
    without_notes = _CODE_NOTE.sub("", bare)
    opened = (all(_open(code, *pair) for code in (text, bare, without_notes)) for pair in (("([", ")]"), ("{", "}")))
    return "unclosed" if any(opened) else None


def _open(code: str, opening: str, closing: str) -> bool:
    """Both kinds together, since an interval may begin with one and end with the other."""
    return sum(map(code.count, opening)) > sum(map(code.count, closing))


def _goes_on(text: str, last: str) -> bool:
    """Other sentences of the answer have an end, and the last one, which is more than a name, has none."""
    said = _ITEM.sub("", last)
    for end in reversed(list(_SENTENCE_END.finditer(said))):
        if not _ABBREVIATED.search(said[max(0, end.start() - _SHORT) : end.start()]):
            return _is_clause(said[end.end() :])
    paragraphs = [line.strip() for line in text.split("\n")[:-1] if line.strip()]
    items = bool(_ITEM.match(last))
    alike = [line for line in paragraphs if bool(_ITEM.match(line)) == items and len(line) > 20]
    closed = [line for line in alike if line[-1] in ".!?。！？"]
    return len(closed) >= 1 + items and len(closed) == len(alike)


def _is_clause(rest: str) -> bool:
    if re.search("[぀-ヿ一-鿿]", rest):
        return len(rest.strip()) >= 2
    words = rest.split()
    return bool(words) and not rest.strip().startswith(("http", "www", "@", "#", "-"))


def _unclosed(last: str) -> bool:
    return any(last.rfind(opening) > last.rfind(closing) for opening, closing in ("()", "{}", "（）", "「」", "『』", "“”"))


def _breaks_off_lines(text: str) -> bool:
    """The last of several lines begins as all others do, and is no more than that beginning."""
    *lines, last = [line.strip() for line in text.split("\n") if line.strip()]
    if len(lines) < 2:
        return False
    if re.fullmatch(r"\d+[.):]?", last):
        return all(re.match(r"\d+\W*\s\S", line) for line in lines[-3:])
    if last in ("-", "*", "•"):
        return all(line.startswith(f"{last} ") for line in lines[-2:])
    return last.count("{") > last.count("}") and all(line.count("{") == line.count("}") > 0 for line in lines)


def _is_half_an_object(text: str) -> bool:
    bare = _STRING.sub("", text) if _OBJECT.match(text) else ""
    return any(bare.count(opening) > bare.count(closing) for opening, closing in ("{}", "[]"))


def _too_few(asked: str, text: str) -> bool:
    """Fewer names than were asked for, of a list in one line."""
    found = _COUNTED.search(asked[-_LIST:])
    if found is None or "\n" in text or "," not in text or len(text) > _LIST or any(mark in text for mark in ".;:"):
        return False
    wanted = int(found[1]) if found[1].isdecimal() else _NUMBERS.index(found[1].lower()) + 2
    return len(re.split(r",|\band\b|&", text)) < wanted


def _leaves_out(asked: str, text: str) -> bool:
    """Of things that are each to be answered, one after another, some are missing."""
    before, colon, named = asked.strip().rstrip(".?! ").rpartition(":")
    if not colon:
        before, _, named = asked.strip().rstrip(".?! ").rpartition(". ")
        if named.count(",") < 2:
            return False
    if "\n" in named.strip() or not _EACH_ASKED.search(before):
        return False
    names = [name.strip().casefold() for name in re.split(r",|;|\band\b", named) if name.strip()]
    answer = text.casefold()
    if not 2 <= len(names) <= _MOST_NAMES or max(map(len, names)) > 40:
        return False
    if any(re.search(rf"^(?:an? )?{re.escape(answer.split()[-1])} \w", name) and name not in answer for name in names):
        return True  # it ends within one of their names
    if not colon or not answer.startswith(tuple(names)):
        return False
    said = [name for name in names if re.search(rf"{re.escape(name)}\s*(?: is | are |:|-|=)", answer)]
    if said and any(answer.endswith(name) for name in names if name not in said):
        return True  # a name is there, and what there was to say of it is not
    return any(not any(word in answer for word in re.findall(r"\w{3,}", name) or [name]) for name in names)
