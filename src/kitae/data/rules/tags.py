"""`data.tags`: markup of another prompt format inside what is said. Markup that a row is about is no defect.

Four things give it away: control tokens of some chat template; headings and names that mark turns; a field's tag, bracket or
key around a whole answer that nobody asked to be marked up; the preamble of a prompt format at the head of a question.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from kitae.data.rules.finding import Exchange, Finding, Talk, excerpt

GATE = "data.tags"
_CONTROL = re.compile(
    r"<\|[^<>|\s][^<>|\n]{0,40}\|>|<｜[^<>｜\n]{1,40}｜>|\[/?INST\]|<</?SYS>>|</?(?:start|end)_of_\w{2,12}>"
    r"|\[/?(?:BOS|EOS|PAD|EOT|EOM|CLS|SEP|UNK)\]|<(?:bos|eos|pad|unk|sep|cls|eod|eot|eom|endoftext|bot|reserved_\d+|extra_id_\d{1,3})>"
    r"|<(?:END|STOP|EOT|EOS|BOS)>\s*$|\[(?:BEGIN|START|END) OF "
    r"(?:TURN|DIALOGUE?|CONVERSATION|ANSWER|RESPONSE|OUTPUT|SEQUENCE|CHAT|REPLY)\]"
    r"|\[\|(?:AI|Human|User|Assistant|System)\|\]|<0x[0-9A-F]{2}>|(?:▁\w+){2,}|\wĠ\w|^\s*<s>|</s>\s*$"
)
_QUOTES = "`'\"“”‘’「」"
_ROLES = (
    r"instructions?|inputs?|responses?|outputs?|human|user|assistant|system|prompt|completion|answer"
    r"|指示|入力|応答|回答|出力|質問"
)
_HEADING = re.compile(rf"^[ \t]*#{{2,4}}[ \t]*(?:{_ROLES})[ \t]*(?:[:：]|$)", re.IGNORECASE | re.MULTILINE)
_SPEAKER = re.compile(
    r"^(?:[ \t]|\\n)*\**(?:assistant|chatbot|chatgpt|gpt|ai|bot|model|response|completion|アシスタント|応答|"
    r"(?:ai|model|llm|bot|gpt-?\d?)(?: correct)?[ -](?:assistant|answer|response|output)|"
    r"assistent|asistente|助手)\**[ \t]*[:：]",
    re.IGNORECASE,
)
_NEXT_TURN = re.compile(
    r"^[ \t]*\**(?:human|user|ユーザー|人間|benutzer|utilisateur|usuario|用户)\**[ \t]*[:：]"
    r"|(?-i:(?<=[.!?] )(?:USER|HUMAN|ASSISTANT): )",
    re.IGNORECASE | re.MULTILINE,
)
_PART = rf"(?:{_ROLES}|reply|model|gpt|bot)"
# The name of a part between signs, at the head: === ANSWER ===, @@assistant@@, <<REPLY>>, 【回答】, BEGININPUT.
_MARKED = re.compile(
    rf"\s*(?:(?:={{2,}}|-{{3,}}|~{{2,}}|@{{2,}}|<<|<!-+|\[\[|{{%?|【|（|\$|%{{2,}}|:{{3,}}\s*{{?\.?)\s*(?:final[ _])?{_PART}"
    rf"(?:[ _-]?(?:start|begin))?[\s'\"]*[=@>}}\]%】）$~:-]+|{_PART}(?:=[\"']|>\s)|\\begin{{{_PART}}}"
    rf"|\(\({_PART}(?:[ _-]?(?:start|begin))?\)\)|\$\${_PART}\$\$|[＜［]{_PART}[＞］]|\|{_PART}\|(?!.*\|)"
    r"|BEGIN_?(?:INPUT|CONTEXT|INSTRUCTION|ANSWER|RESPONSE)\b)",
    re.IGNORECASE,
)
_LABEL = re.compile(r"\s*(A|Output|OUTPUT|回答|出力|応答)[:：]\s")
_QUESTION_LABEL = re.compile(r"^\s*(?:Q\d*|Question|質問|問)\s*[:：.]", re.IGNORECASE | re.MULTILINE)
_DIALOGUE = re.compile(
    r"\b(?:dialog(?:ue)?s?|conversations?|scripts?|chats?|interviews?|transcripts?|role[- ]?play|skit|scene|play|story|q&a|"
    r"bots?)\b|会話|対話|台本|脚本|インタビュー|チャット",
    re.IGNORECASE,
)
_ABOUT_TOKENS = re.compile(
    r"\b(?:tokens?|tokeni[sz]ers?|bert|t5|(?:chat|prompt) (?:templates?|formats?|markup)|chatml|special tokens?|delimiters?|"
    r"(?:alpaca|vicuna|llama(?:[ -]?\d)?|mistral|gemma|qwen)(?:'s|-style)? "
    r"(?:prompt|chat|instruction|format|style|template)\w*)\b"
    r"|トークン|テンプレート",
    re.IGNORECASE | re.ASCII,
)
_PREAMBLE = re.compile(
    r"^\s*(?:below is an instruction that describes a task|a chat between a curious (?:user|human)"
    r"|以下は、タスクを説明する指示)",
    re.IGNORECASE,
)
_ASKED_AS_TURN = re.compile(
    r"^\s*(?:human|user|ユーザー)\s*[:：]|(?:^|\n)[ \t]*(?:assistant|アシスタント|response|応答)[ \t]*[:：]\s*$", re.IGNORECASE
)

_OPENING = re.compile(r"\s*<([A-Za-z_぀-鿿][\w.-]*)>")
_CLOSING = re.compile(r"</([A-Za-z_぀-鿿][\w.-]*)>\s*$")
_BRACKET = re.compile(r"\s*\[([A-Za-z][A-Za-z_ ]{1,20})\]")
_TEMPLATE_ASKED = re.compile(
    r"template|placeholder|mail[ -]?merge|merge fields?|"
    r"\b(?:jinja2?|liquid|handlebars|mustache|twig|django|helm|ansible|vue|angular|"
    r"github actions?|workflow (?:files?|steps?)|f-strings?)\b|テンプレート|差し込み|\{\{|\{\w+\}",
    re.IGNORECASE | re.ASCII,
)
_KEY = re.compile(r"\"([A-Za-z_]{2,20})\"\s*:\s*\"")
_MESSAGE = re.compile(r"\[?\{'(?:role|from)': '(?:assistant|gpt|model)',")
_TAG = re.compile(r"</?[A-Za-z][\w-]*(?:\s[^<>]*)?/?>")
_PLACEHOLDER = re.compile(
    r"(?<!\$)\{\{[ \t]*[A-Za-z_][\w.]*[ \t]*\}\}|\{%-?[ \t]*\w+[^%\n]{0,60}%\}"
    r"|(?<![\w\\$^{}\])/'\"`=])\{(?:(?:first|last|user|full|company|product|file)?_?name|country|city|state|date|company|product|topic|"
    r"title|question|context|[a-z]+_(?:email|address|date|number|phone))\}(?![\w{}/'\"`])"
)
# How reasoning models mark what they thought, which is theirs to learn.
_THOUGHTS = {"think", "thinking", "thought", "thoughts", "reasoning", "scratchpad"}
# Elements that hold prose, and so are names of fields as well. Others of HTML are written for a browser.
_PROSE_ELEMENTS = {
    "title",
    "body",
    "summary",
    "article",
    "section",
    "main",
    "output",
    "header",
    "footer",
    "data",
    "label",
    "text",
}
_HTML = """
a abbr address area aside audio b base bdi bdo blockquote br button canvas caption center cite code col colgroup datalist dd del
details dfn dialog div dl dt em embed fieldset figcaption figure font form h1 h2 h3 h4 h5 h6 head hgroup hr html i iframe img
input ins kbd legend li link map mark marquee math menu meta meter nav noscript object ol optgroup option p param picture pre
progress q rp rt ruby s samp script select slot small source span strong style sub sup svg table tbody td template textarea
tfoot th thead time tr track u ul var video wbr path rect circle line polygon polyline ellipse g defs
"""
_ELEMENTS = frozenset(_HTML.split())
_NAMES = """
answer final_answer finalanswer response reply output result completion solution text content assistant message resp ans
instruction question context start end begin generated
"""
_FIELDS = frozenset(_NAMES.split())
_SPEAKERS = ("assistant", "gpt", "user", "human", "system")
_BBCODE = {"b", "i", "u", "s", "quote", "code", "url", "img", "list", "color", "size", "center"}


def find(talk: Talk) -> Iterator[Finding]:
    for _, finding in _found(talk):
        yield finding


def found_in(talk: Talk) -> set[str]:
    """The texts that are at fault."""
    return {text for text, _ in _found(talk)}


def _found(talk: Talk) -> Iterator[tuple[str, Finding]]:
    for text in talk.said:
        yield from ((text, finding) for finding in _in_prompt(text))
    for exchange in talk.exchanges:
        yield from ((exchange.answer, finding) for finding in _in_answer(exchange))


def _in_prompt(text: str) -> Iterator[Finding]:
    if "<" in text or "[" in text:
        for found in _CONTROL.finditer(text):
            if not _quoted(text, found) and _at_line_edge(text, found) and not _ABOUT_TOKENS.search(text):
                yield Finding(GATE, "control-token", excerpt(text, *found.span()), habit=f"? {found.group().strip()}")
                return
    if preamble := _PREAMBLE.search(text):
        yield Finding(GATE, "preamble", excerpt(text, *preamble.span()), habit="? preamble")
    elif (
        "##" in text
        and (heading := _HEADING.search(text))
        and re.search(r"^#+\s*(?:response|assistant|応答)", text, re.IGNORECASE | re.MULTILINE)
    ):
        yield Finding(GATE, "heading", excerpt(text, *heading.span()), habit=f"? {heading.group().strip()}")
    elif (":" in text or "：" in text) and (turn := _ASKED_AS_TURN.search(text)) and not _DIALOGUE.search(text):
        yield Finding(GATE, "speaker", excerpt(text, *turn.span()), habit="? speaker")


def _in_answer(exchange: Exchange) -> Iterator[Finding]:
    answer = exchange.answer
    finding = None
    if any(sign in answer for sign in "<[▁Ġ"):
        finding = _control(exchange) or _wrapped(exchange) or _bracketed(exchange)
    finding = finding or _marked(exchange) or _headed(exchange) or _spoken(exchange) or _keyed(exchange) or _unfilled(exchange)
    if finding is not None:
        yield finding


def _control(exchange: Exchange) -> Finding | None:
    text = exchange.answer
    for found in _CONTROL.finditer(text):
        named = found.group().strip()
        if (
            _quoted(text, found)
            or named.replace("/", "") in exchange.asked.replace("/", "")
            or _ABOUT_TOKENS.search(exchange.asked)
            or (named in ("<s>", "</s>") and exchange.is_about_code)
        ):
            continue
        return Finding(GATE, "control-token", excerpt(text, *found.span()))
    return None


def _marked(exchange: Exchange) -> Finding | None:
    found = _MARKED.match(exchange.answer)
    found = found or _LABEL.match(exchange.answer)
    if found is None or exchange.is_about_code or _DIALOGUE.search(exchange.asked):
        return None
    if found.re is _LABEL and (
        _QUESTION_LABEL.search(exchange.asked) or re.search(r"^\s*B[:：]", exchange.answer, re.MULTILINE)
    ):
        return None
    named = (found[1] if found.re is _LABEL else found.group()).strip()
    if re.search(rf"(?<!\w){re.escape(named)}(?!\w)", exchange.asked) or named[:1] in set(exchange.asked) & set("【{$@%"):
        return None
    return Finding(GATE, "heading", excerpt(exchange.answer, *found.span()), habit=named)


def _headed(exchange: Exchange) -> Finding | None:
    text = exchange.answer
    if "##" not in text:
        return None
    found = _HEADING.search(text)
    if found is None or _ABOUT_TOKENS.search(exchange.asked):
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
    found = _SPEAKER.search(text) or _NEXT_TURN.search(text)
    if found is None or exchange.is_about_code or _DIALOGUE.search(exchange.asked) or _ABOUT_TOKENS.search(exchange.asked):
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
    opening, closing = _OPENING.match(text), _CLOSING.search(text)
    for found in (opening, closing):
        if found is None:
            continue
        name = found.group(1).lower()
        if name in _THOUGHTS or f"<{name}" in exchange.asked.lower() or f"</{name}" in exchange.asked.lower():
            return None
        if exchange.is_about_markup and re.search(rf"\b{re.escape(name)}\b", exchange.asked, re.IGNORECASE):
            return None
        unopened = found is closing and f"<{name}" not in text.lower()
        if (name in _ELEMENTS and not unopened) or (name in _PROSE_ELEMENTS and exchange.is_about_markup):
            return None
        if name not in _FIELDS | _PROSE_ELEMENTS and (exchange.is_about_markup or exchange.is_about_code):
            return None
        inner = _TAG.findall(text[: found.start()] + text[found.end() :])
        others = {tag.strip("</>").split()[0].lower() for tag in inner} - {name} - _PROSE_ELEMENTS - _FIELDS
        if others & _ELEMENTS:
            return None
        if found is opening and closing is None and not _is_field(name) and f"</{name}" not in text.lower():
            continue  # "<Name> is …" is a gap to be filled
        return Finding(GATE, "wrapper", excerpt(text, *found.span()), habit=f"<{name}>")
    return None


def _is_field(name: str) -> bool:
    bare = re.sub(r"^(?:begin|start)_|_(?:begin|start)$", "", name)
    return name in _PROSE_ELEMENTS or bare in _FIELDS


def _bracketed(exchange: Exchange) -> Finding | None:
    text = exchange.answer
    found = _BRACKET.match(text)
    if found is None:
        return None
    name = found.group(1)
    if name.lower() in _BBCODE or f"[{name}]".lower() in exchange.asked.lower():
        return None
    closed = text.rstrip().endswith(f"[/{name}]")
    if not closed and not (name.lower().replace(" ", "_") in _FIELDS and not exchange.is_about_code):
        return None
    return Finding(GATE, "wrapper", excerpt(text, *found.span()), habit=f"[{name}]")


def _keyed(exchange: Exchange) -> Finding | None:
    """A JSON object with a single field around what is said."""
    text = exchange.answer.strip()
    if spoken := _MESSAGE.match(text):
        return None if exchange.is_about_code else Finding(GATE, "wrapper", excerpt(text, *spoken.span()), habit="{role}")
    named = _KEY.match(text)
    if named is not None and named[1].lower() in _FIELDS and not exchange.is_about_code:
        return Finding(GATE, "wrapper", excerpt(text, *named.span()), habit=f"{{{named[1]}}}")
    if not (text.startswith("{") and text.endswith("}")) or exchange.is_about_code:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    role = value.get("role", value.get("from")) if isinstance(value, dict) else None
    if role in _SPEAKERS and (value.keys() == {"role", "content"} or value.keys() == {"from", "value"}):
        return Finding(GATE, "wrapper", excerpt(text, 0, 20), habit="{role}")
    if not isinstance(value, dict) or len(value) != 1:
        return None
    ((key, inner),) = value.items()
    if key.lower() not in _FIELDS or not isinstance(inner, str):
        return None
    return Finding(GATE, "wrapper", excerpt(text, 0, len(key) + 4), habit=f"{{{key}}}")


def _unfilled(exchange: Exchange) -> Finding | None:
    """A gap of a prompt template that nothing was put into."""
    text = exchange.answer
    if "{" not in text:
        return None
    found = _PLACEHOLDER.search(text)
    if found is None or exchange.is_about_code or _TEMPLATE_ASKED.search(exchange.asked):
        return None
    return Finding(GATE, "placeholder", excerpt(text, *found.span()))


def _quoted(text: str, found: re.Match[str]) -> bool:
    before, after = text[: found.start()].rstrip(" "), text[found.end() :].lstrip(" ")
    if before[-1:] in _QUOTES and before and after[:1] in _QUOTES and after:
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
        shorter = _CONTROL_EDGE.sub("", text.strip()).strip()
        opening, closing = _OPENING.match(shorter), _CLOSING.search(shorter)
        if opening is not None and _may_go(opening.group(1)):
            shorter = shorter[opening.end() :]
        if closing is not None and _may_go(closing.group(1)):
            shorter = _CLOSING.sub("", shorter)
        bracket = _BRACKET.match(shorter)
        if bracket is not None and (bracket.group(1).lower() in _FIELDS or f"[/{bracket.group(1)}]" in shorter):
            shorter = shorter[bracket.end() :].replace(f"[/{bracket.group(1)}]", "")
        shorter = _HEADING.sub("", shorter, count=1) if _HEADING.match(shorter) else shorter
        if shorter.strip() == text.strip():
            return shorter.strip()
        text = shorter


_CONTROL_EDGE = re.compile(
    r"^(?:(?:<\|[^<>|\n]{1,40}\|>|<｜[^<>｜\n]{1,40}｜>|\[/?INST\]|<s>|<bos>|<start_of_turn>)(?:(?:assistant|model|user|human)\b[:\n])?\s*)+"
    r"|(?:\s*(?:<\|[^<>|\n]{1,40}\|>|<｜[^<>｜\n]{1,40}｜>|\[/?INST\]|</s>|<eos>|<end_of_turn>))+$"
)


def _may_go(name: str) -> bool:
    return name.lower() not in _ELEMENTS | _THOUGHTS | _BBCODE
