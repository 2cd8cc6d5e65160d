"""What markup of prompt formats looks like, and what looks like it: the words and patterns of `tags.py`."""

from __future__ import annotations

import re

from kitae.data.clean.rules import patterns

CONTROL = patterns.any_of("control-token")
QUOTES = "`'\"“”‘’「」"
_ROLES = (
    r"instructions?|inputs?|responses?|outputs?|human|user|assistant|system|prompt|completion|answer"
    r"|指示|入力|応答|回答|出力|質問"
)
HEADING = re.compile(rf"^[ \t]*#{{2,4}}[ \t]*(?:{_ROLES})[ \t]*(?:[:：]|$)", re.IGNORECASE | re.MULTILINE)
SPEAKER = re.compile(
    r"^(?:[ \t]|\\n)*\**(?:assistant|chatbot|chatgpt|gpt|ai|bot|model|response|completion|アシスタント|応答|"
    r"(?:ai|model|llm|bot|gpt-?\d?)(?: correct)?[ -](?:assistant|answer|response|output)|"
    r"(?:ai|model|assistant)['’]?s (?:answer|response|reply|output)|assistent|asistente|助手)\**[ \t]*[:：]",
    re.IGNORECASE,
)
NEXT_TURN = re.compile(
    r"^[ \t]*\**(?:human|user|ユーザー|人間|benutzer|utilisateur|usuario|用户)\**[ \t]*[:：]"
    r"|(?-i:(?<=[.!?] )(?:USER|HUMAN|ASSISTANT): )",
    re.IGNORECASE | re.MULTILINE,
)
# Another question with its answer, after the answer: whoever wrote it did not stop.
ASKS_ON = re.compile(
    r"\S[ \t]*\n+[ \t]*(?:question|q|質問|問)[ \t]*\d{0,2}[:：][^\n]+\n+[ \t]*(?:answer|a|回答|答え?)[ \t]*\d{0,2}[:：]",
    re.IGNORECASE,
)
QUESTIONS_ASKED = re.compile(
    r"\b(?:questions?|quiz(?:zes)?|faqs?|q ?& ?a|exams?|tests?|flash ?cards?|trivia|riddles?|jokes?|examples?|pairs?|"
    r"problems?)\b|問|クイズ|質問|例",
    re.IGNORECASE,
)
_PART = rf"(?:{_ROLES}|reply|model|gpt|bot)"
# The name of a part between signs, at the head: === ANSWER ===, @@assistant@@, <<REPLY>>, 【回答】, BEGININPUT.
MARKED = re.compile(
    rf"\s*(?:(?:={{2,}}|-{{3,}}|~{{2,}}|@{{2,}}|<<|<!-+|\[\[|{{%?|【|（|\$|%{{2,}}|:{{3,}}\s*{{?\.?)\s*(?:final[ _])?{_PART}"
    rf"(?:[ _-]?(?:start|begin))?[\s'\"]*[=@>}}\]%】）$~:-]+|{_PART}(?:=[\"']|>\s)|\\begin{{{_PART}}}"
    rf"|\(\({_PART}(?:[ _-]?(?:start|begin))?\)\)|\$\${_PART}\$\$|[＜［「]{_PART}[＞］」]"
    rf"|\*{{3,}}[ ]?{_PART}[ ]?\*{{3,}}|\|{_PART}\|(?!.*\|)"
    r"|BEGIN_?(?:INPUT|CONTEXT|INSTRUCTION|ANSWER|RESPONSE)\b)",
    re.IGNORECASE,
)
LABEL = re.compile(r"\s*(A|Output|OUTPUT|output|回答|出力|応答)(?:[:：]\s|(?<=[^A-Za-z])[:：])")
QUESTION_LABEL = re.compile(r"^\s*(?:Q\d*|Question|質問|問)\s*[:：.]", re.IGNORECASE | re.MULTILINE)
DIALOGUE = re.compile(
    r"\b(?:dialog(?:ue)?s?|conversations?|scripts?|chats?|interviews?|transcripts?|role[- ]?play|skit|scene|play|story|q&a|"
    r"bots?)\b|会話|対話|台本|脚本|インタビュー|チャット",
    re.IGNORECASE,
)
ABOUT_TOKENS = re.compile(
    r"\b(?:tokens?|tokeni[sz]ers?|bert|t5|openai|(?:chat|prompt|message) (?:templates?|formats?|markup|messages?)|"
    r"chatml|special tokens?|delimiters?|"
    r"(?:alpaca|vicuna|llama(?:[ -]?\d)?|mistral|gemma|qwen)(?:'s|-style)? "
    r"(?:prompt|chat|instruction|format|style|template)\w*)\b"
    r"|トークン|テンプレート",
    re.IGNORECASE | re.ASCII,
)
PREAMBLE = re.compile(
    r"^\s*(?:below is an instruction that describes a task|a chat between a curious (?:user|human)"
    r"|以下は、タスクを説明する指示)",
    re.IGNORECASE,
)
ASKED_AS_TURN = re.compile(
    r"^\s*(?:human|user|ユーザー)\s*[:：]|(?:^|\n)[ \t]*(?:assistant|アシスタント|response|応答)[ \t]*[:：]\s*$", re.IGNORECASE
)

OPENING = re.compile(r"\s*<([A-Za-z_぀-鿿][\w.-]*)>")
CLOSING = re.compile(r"</([A-Za-z_぀-鿿][\w.-]*)>\s*$")
BRACKET = re.compile(r"\s*\[([A-Za-z][A-Za-z_ ]{1,20})\]")
TEMPLATE_ASKED = re.compile(
    r"template|placeholder|mail[ -]?merge|merge fields?|"
    r"\b(?:jinja2?|liquid|handlebars|mustache|twig|django|helm|ansible|vue|angular|"
    r"github actions?|workflow (?:files?|steps?)|f-strings?)\b|テンプレート|差し込み|\{\{|\{\w+\}",
    re.IGNORECASE | re.ASCII,
)
KEY = re.compile(r"\"([A-Za-z_]{2,20})\"\s*:\s*\"|\{'(?P<python>[A-Za-z_]{2,20})': ['\"]")
MESSAGE = re.compile(r"\[?\{'(?:role|from)': '(?:assistant|gpt|model)',")
TAG = re.compile(r"</?[A-Za-z][\w-]*(?:\s[^<>]*)?/?>")
PLACEHOLDER = re.compile(
    r"(?<!\$)\{\{[ \t]*[A-Za-z_][\w.]*[ \t]*\}\}|\{%-?[ \t]*\w+[^%\n]{0,60}%\}"
    r"|(?<![\w\\$^{}\])/'\"`=])\{(?:(?:first|last|user|full|company|product|file)?_?name|country|city|state|date|company|product|topic|"
    r"title|question|context|[a-z]+_(?:email|address|date|number|phone))\}(?![\w{}/'\"`])"
)
# Of web pages, in prose: line breaks, and the ends of elements that hold some.
LEFT_OVER = re.compile(r"<(br)\s?/?>|</(p|b|i|u|strong|em|ul|ol|li|div|span|h[1-6]|a|td|tr|font|blockquote)>", re.IGNORECASE)
STYLED = re.compile(
    r"\b(?:e-?mails?|newsletters?|blogs?|highlight\w*|embed\w*|bold\w*|itali\w+|underlin\w+|format\w*|styles?|"
    r"tables?|colou?r\w*|headings?|paragraphs?|lists?|links?|buttons?|pages?|sections?)\b"
    r"|太字|斜体|表|メール|ブログ|色|強調",
    re.IGNORECASE,
)
# How reasoning models mark what they thought, which is theirs to learn.
THOUGHTS = {"think", "thinking", "thought", "thoughts", "reasoning", "scratchpad"}
# Elements that hold prose, and so are names of fields as well. Others of HTML are written for a browser.
PROSE_ELEMENTS = {
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
ELEMENTS = frozenset(_HTML.split())
_NAMES = """
answer final_answer finalanswer response reply output result completion solution text content assistant message resp ans
instruction question context start end begin generated
"""
FIELDS = frozenset(_NAMES.split())
SPEAKERS = ("assistant", "gpt", "user", "human", "system")
BBCODE = {"b", "i", "u", "s", "quote", "code", "url", "img", "list", "color", "size", "center"}
# What stripping takes from both ends of a text.
CONTROL_EDGE = re.compile(
    r"^(?:(?:<\|[^<>|\n]{1,40}\|>|<｜[^<>｜\n]{1,40}｜>|\[/?INST\]|<s>|<bos>|<start_of_turn>)(?:(?:assistant|model|user|human)\b[:\n])?\s*)+"
    r"|(?:\s*(?:<\|[^<>|\n]{1,40}\|>|<｜[^<>｜\n]{1,40}｜>|\[/?INST\]|</s>|<eos>|<end_of_turn>))+$"
)
