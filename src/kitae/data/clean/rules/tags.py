"""`data.tags`: markup of another prompt format inside what is said. Markup that a row is about is no defect.

Five things give it away: control tokens of some chat template; headings and names that mark turns; a field's tag, bracket or
key around a whole answer that nobody asked to be marked up; the preamble of a prompt format at the head of a question; and
what the prose of a web page was written with.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from kitae.data.clean.rules import markup
from kitae.data.clean.rules.finding import Exchange, RowView, excerpt
from kitae.data.read.finding import Finding

GATE = "data.tags"


def find(view: RowView) -> Iterator[Finding]:
    for _, finding in _found(view):
        yield finding


def found_in(view: RowView) -> set[str]:
    """The texts that are at fault."""
    return {text for text, _ in _found(view)}


def _found(view: RowView) -> Iterator[tuple[str, Finding]]:
    for text in view.said:
        yield from ((text, finding) for finding in _in_prompt(text))
    for exchange in view.exchanges:
        yield from ((exchange.answer, finding) for finding in _in_answer(exchange))


def _in_prompt(text: str) -> Iterator[Finding]:
    if "<" in text or "[" in text:
        for found in markup.CONTROL.finditer(text):
            if not _quoted(text, found) and _at_line_edge(text, found) and not markup.ABOUT_TOKENS.search(text):
                yield Finding(GATE, "control-token", excerpt(text, *found.span()), habit=f"? {found.group().strip()}")
                return
    if preamble := markup.PREAMBLE.search(text):
        yield Finding(GATE, "preamble", excerpt(text, *preamble.span()), habit="? preamble")
    elif (
        "##" in text
        and (heading := markup.HEADING.search(text))
        and re.search(r"^#+\s*(?:response|assistant|応答)", text, re.IGNORECASE | re.MULTILINE)
    ):
        yield Finding(GATE, "heading", excerpt(text, *heading.span()), habit=f"? {heading.group().strip()}")
    elif (":" in text or "：" in text) and (turn := markup.ASKED_AS_TURN.search(text)) and not markup.DIALOGUE.search(text):
        yield Finding(GATE, "speaker", excerpt(text, *turn.span()), habit="? speaker")


def _in_answer(exchange: Exchange) -> Iterator[Finding]:
    answer = exchange.answer
    finding = None
    if any(sign in answer for sign in "<[▁Ġ"):
        finding = _control(exchange) or _wrapped(exchange) or _bracketed(exchange)
    finding = (
        finding
        or _marked(exchange)
        or _headed(exchange)
        or _spoken(exchange)
        or _keyed(exchange)
        or _unfilled(exchange)
        or _left_over(exchange)
    )
    if finding is not None:
        yield finding


def _control(exchange: Exchange) -> Finding | None:
    text = exchange.answer
    for found in markup.CONTROL.finditer(text):
        named = found.group().strip()
        if (
            _quoted(text, found)
            or named.replace("/", "") in exchange.asked.replace("/", "")
            or markup.ABOUT_TOKENS.search(exchange.asked)
            or (named in ("<s>", "</s>") and exchange.is_about_code)
        ):
            continue
        return Finding(GATE, "control-token", excerpt(text, *found.span()))
    return None


def _marked(exchange: Exchange) -> Finding | None:
    found = markup.MARKED.match(exchange.answer)
    found = found or markup.LABEL.match(exchange.answer)
    if found is None or exchange.is_about_code or markup.DIALOGUE.search(exchange.asked):
        return None
    if found.re is markup.LABEL and (
        markup.QUESTION_LABEL.search(exchange.asked) or re.search(r"^\s*B[:：]", exchange.answer, re.MULTILINE)
    ):
        return None
    named = (found[1] if found.re is markup.LABEL else found.group()).strip()
    if re.search(rf"(?<!\w){re.escape(named)}(?!\w)", exchange.asked) or named[:1] in set(exchange.asked) & set("【{$@%"):
        return None
    return Finding(GATE, "heading", excerpt(exchange.answer, *found.span()), habit=named)


def _headed(exchange: Exchange) -> Finding | None:
    text = exchange.answer
    if "##" not in text:
        return None
    found = markup.HEADING.search(text)
    if found is None or markup.ABOUT_TOKENS.search(exchange.asked):
        return None
    first = not text[: found.start()].strip()
    turns = re.match(r"\W*(?:instruction|response|human|assistant|指示|応答)", found.group(), re.IGNORECASE)
    if first or (turns and not exchange.is_about_code):
        return None if found.group().strip() in exchange.asked else Finding(GATE, "heading", excerpt(text, *found.span()))
    return None


def _spoken(exchange: Exchange) -> Finding | None:
    text = exchange.answer
    if ":" not in text and "：" not in text:
        return None
    found = markup.SPEAKER.search(text) or markup.NEXT_TURN.search(text)
    if found is None and (more := markup.ASKS_ON.search(text)) and not markup.QUESTIONS_ASKED.search(exchange.asked):
        found = more
    if (
        found is None
        or exchange.is_about_code
        or markup.DIALOGUE.search(exchange.asked)
        or markup.ABOUT_TOKENS.search(exchange.asked)
    ):
        return None
    name = found.group().strip(" \t*:：\n")
    if re.search(rf"(?:^|\n)\s*{re.escape(name)}\s*[:：]", exchange.asked, re.IGNORECASE) or _is_term(exchange.asked, name):
        return None
    return Finding(GATE, "speaker", excerpt(text, *found.span()))


def _is_term(asked: str, name: str) -> bool:
    """Whether a question is about what only looks like a speaker."""
    return bool(re.search(rf"\b{re.escape(name)}\b", asked, re.IGNORECASE))


def _wrapped(exchange: Exchange) -> Finding | None:
    """A field's tag at the head or at the end of an answer that is prose."""
    text = exchange.answer
    opening, closing = markup.OPENING.match(text), markup.CLOSING.search(text)
    for found in (opening, closing):
        if found is None:
            continue
        name = found.group(1).lower()
        if name in markup.THOUGHTS and f"</{name}" not in text.lower():
            return Finding(GATE, "wrapper", excerpt(text, *found.span()))  # it was cut off before there was an answer
        if name in markup.THOUGHTS or f"<{name}" in exchange.asked.lower() or f"</{name}" in exchange.asked.lower():
            return None
        if exchange.is_about_markup and re.search(rf"\b{re.escape(name)}\b", exchange.asked, re.IGNORECASE):
            return None
        unopened = found is closing and f"<{name}" not in text.lower()
        if (name in markup.ELEMENTS and not unopened) or (name in markup.PROSE_ELEMENTS and exchange.is_about_markup):
            return None
        if name not in markup.FIELDS | markup.PROSE_ELEMENTS and (exchange.is_about_markup or exchange.is_about_code):
            return None
        inner = markup.TAG.findall(text[: found.start()] + text[found.end() :])
        others = {tag.strip("</>").split()[0].lower() for tag in inner} - {name} - markup.PROSE_ELEMENTS - markup.FIELDS
        if others & markup.ELEMENTS:
            return None
        if found is opening and closing is None and not _is_field(name) and f"</{name}" not in text.lower():
            continue  # "<Name> is …" is a gap to be filled
        return Finding(GATE, "wrapper", excerpt(text, *found.span()), habit=f"<{name}>")
    return None


def _is_field(name: str) -> bool:
    bare = re.sub(r"^(?:begin|start)_|_(?:begin|start)$", "", name)
    return name in markup.PROSE_ELEMENTS or bare in markup.FIELDS


def _bracketed(exchange: Exchange) -> Finding | None:
    text = exchange.answer
    found = markup.BRACKET.match(text)
    if found is None:
        return None
    name = found.group(1)
    if name.lower() in markup.BBCODE or f"[{name}]".lower() in exchange.asked.lower():
        return None
    closed = text.rstrip().endswith(f"[/{name}]")
    if not closed and not (name.lower().replace(" ", "_") in markup.FIELDS and not exchange.is_about_code):
        return None
    return Finding(GATE, "wrapper", excerpt(text, *found.span()), habit=f"[{name}]")


def _keyed(exchange: Exchange) -> Finding | None:
    """A JSON object with a single field around what is said."""
    text = exchange.answer.strip()
    if markup.ABOUT_TOKENS.search(exchange.asked):
        return None
    if spoken := markup.MESSAGE.match(text):
        return None if exchange.is_about_code else Finding(GATE, "wrapper", excerpt(text, *spoken.span()), habit="{role}")
    named = markup.KEY.match(text)
    key = (named[1] or named["python"]) if named else ""
    if named is not None and key.lower() in markup.FIELDS and not exchange.is_about_code:
        return Finding(GATE, "wrapper", excerpt(text, *named.span()), habit=f"{{{key}}}")
    if not (text.startswith("{") and text.endswith("}")) or exchange.is_about_code:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    role = value.get("role", value.get("from")) if isinstance(value, dict) else None
    if role in markup.SPEAKERS and (value.keys() == {"role", "content"} or value.keys() == {"from", "value"}):
        return Finding(GATE, "wrapper", excerpt(text, 0, 20), habit="{role}")
    if not isinstance(value, dict) or len(value) != 1:
        return None
    ((key, inner),) = value.items()
    if key.lower() not in markup.FIELDS or not isinstance(inner, str):
        return None
    return Finding(GATE, "wrapper", excerpt(text, 0, len(key) + 4), habit=f"{{{key}}}")


def _unfilled(exchange: Exchange) -> Finding | None:
    """A gap of a prompt template that nothing was put into."""
    text = exchange.answer
    if "{" not in text:
        return None
    found = markup.PLACEHOLDER.search(text)
    if found is None or exchange.is_about_code or markup.TEMPLATE_ASKED.search(exchange.asked):
        return None
    return Finding(GATE, "placeholder", excerpt(text, *found.span()))


def _left_over(exchange: Exchange) -> Finding | None:
    """What a web page was written with, in prose that nobody wanted for one."""
    text = exchange.answer
    if "<" not in text or exchange.is_about_code or exchange.is_about_markup or markup.STYLED.search(exchange.asked):
        return None
    for found in markup.LEFT_OVER.finditer(text):
        line = text[text.rfind("\n", 0, found.start()) + 1 : found.start()]
        name = (found[1] or found[2]).lower()
        if _quoted(text, found) or "|" in line:  # within cells of a table nothing else breaks lines
            continue
        if f"<{name}" not in exchange.asked.lower():
            return Finding(GATE, "html", excerpt(text, *found.span()), habit=f"<{name}>")
    return None


def _quoted(text: str, found: re.Match[str]) -> bool:
    before, after = text[: found.start()].rstrip(" "), text[found.end() :].lstrip(" ")
    if before[-1:] in markup.QUOTES and before and after[:1] in markup.QUOTES and after:
        return True
    line = text[text.rfind("\n", 0, found.start()) + 1 : found.start()]
    return line.count("`") % 2 == 1 or text.count("```", 0, found.start()) % 2 == 1


def _at_line_edge(text: str, found: re.Match[str]) -> bool:
    start, end = found.span()
    line_start, line_end = text.rfind("\n", 0, start) + 1, text.find("\n", end)
    return not text[line_start:start].strip() or not text[end : line_end if line_end >= 0 else None].strip()


def stripped(text: str) -> str:
    """Without wrappers, control tokens and headings at its edges. What is left inside is found again."""
    while True:
        shorter = markup.CONTROL_EDGE.sub("", text.strip()).strip()
        opening, closing = markup.OPENING.match(shorter), markup.CLOSING.search(shorter)
        if opening is not None and _may_go(opening.group(1)):
            shorter = shorter[opening.end() :]
        if closing is not None and _may_go(closing.group(1)):
            shorter = markup.CLOSING.sub("", shorter)
        bracket = markup.BRACKET.match(shorter)
        if bracket is not None and (bracket.group(1).lower() in markup.FIELDS or f"[/{bracket.group(1)}]" in shorter):
            shorter = shorter[bracket.end() :].replace(f"[/{bracket.group(1)}]", "")
        shorter = markup.HEADING.sub("", shorter, count=1) if markup.HEADING.match(shorter) else shorter
        if shorter.strip() == text.strip():
            return shorter.strip()
        text = shorter


def _may_go(name: str) -> bool:
    return name.lower() not in markup.ELEMENTS | markup.THOUGHTS | markup.BBCODE
