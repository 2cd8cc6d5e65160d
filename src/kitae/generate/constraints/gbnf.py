"""llama.cpp's grammars (GBNF) in llguidance's form of Lark.

Every character becomes a lexeme of its own. A lexer that reads ahead takes the longest word it can, and a GBNF grammar doesn't
mean that: `[a-z]+ "b"` would wait for a b that the letters before have taken already. (llguidance's own converter does so.)
"""

from __future__ import annotations

import re

from kitae.generate.constraints.expressions import escaped

_NAME = re.compile(r"[A-Za-z0-9_-]+")
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([nrt\"\\\[\]\-^/]))")
_REPEAT = re.compile(r"\{\s*(\d{1,4})\s*(?:(,)\s*(\d{1,4})?\s*)?\}")
_CONTROLS = {"n": "\n", "r": "\r", "t": "\t"}
_DEEPEST = 50


class BadGrammar(Exception):
    """Says what is wrong in which line of a grammar."""


def as_lark(text: str) -> str:
    return _Reader(text).grammar()


class _Reader:
    def __init__(self, text: str) -> None:
        self._text, self._at, self._depth = text, 0, 0
        self._names: dict[str, int] = {}  # of rules, numbered: not all their names are names in Lark
        self._defined: set[str] = set()

    def grammar(self) -> str:
        lines = ["%llguidance {}"]
        self._space(lines=True)
        while self._at < len(self._text):
            name = self._name()
            if name in self._defined:
                raise self._wrong(f"{name}: a second rule of this name")
            self._defined.add(name)
            self._space(lines=False)
            self._expect("::=")
            self._space(lines=True)
            lines.append(f"{self._rule(name)}: {self._alternatives(nested=False)}")
            if self._at < len(self._text) and self._text[self._at] not in "\r\n":
                raise self._wrong(self._text[self._at : self._at + 10])
            self._space(lines=True)
        if lacking := [name for name in ["root", *self._names] if name not in self._defined]:
            raise BadGrammar(f"{lacking[0]}: no such rule")
        return "\n".join([*lines, f"start: {self._rule('root')}", ""])

    def _rule(self, name: str) -> str:
        return f"rule_{self._names.setdefault(name, len(self._names))}"

    def _wrong(self, what: str) -> BadGrammar:
        return BadGrammar(f"line {self._text.count(chr(10), 0, self._at) + 1}: {what}")

    def _space(self, lines: bool) -> None:
        blank = re.compile(r"(?:[ \t]|#[^\r\n]*|[\r\n])*" if lines else r"(?:[ \t]|#[^\r\n]*)*").match(self._text, self._at)
        assert blank is not None
        self._at = blank.end()

    def _expect(self, what: str) -> None:
        if not self._text.startswith(what, self._at):
            raise self._wrong(f"{what} expected")
        self._at += len(what)

    def _name(self) -> str:
        name = _NAME.match(self._text, self._at)
        if name is None:
            raise self._wrong(f"a name expected, not {self._text[self._at : self._at + 10]!r}")
        self._at = name.end()
        return name[0]

    def _alternatives(self, nested: bool) -> str:
        options = [self._sequence(nested)]
        while self._text.startswith("|", self._at):
            self._at += 1
            self._space(lines=True)
            options.append(self._sequence(nested))
        return " | ".join(options)

    def _sequence(self, nested: bool) -> str:
        parts: list[str] = []
        while self._at < len(self._text) and self._text[self._at] not in "|)\r\n":
            parts.append(self._repeated(self._item()))
            self._space(lines=nested)
        return " ".join(parts) or '""'

    def _item(self) -> str:
        character = self._text[self._at]
        if character == '"':
            return self._literal()
        if character == "[":
            return self._class()
        if character == ".":
            self._at += 1
            return "/(?s:.)/"
        if character == "(":
            return self._group()
        return self._rule(self._name())

    def _group(self) -> str:
        self._at += 1
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._wrong("too many parentheses")
        self._space(lines=True)
        inner = self._alternatives(nested=True)
        self._expect(")")
        self._depth -= 1
        return f"({inner})"

    def _repeated(self, item: str) -> str:
        self._space(lines=False)
        if self._text[self._at : self._at + 1] in ("*", "+", "?"):
            self._at += 1
            item = f"({item}){self._text[self._at - 1]}"
        elif repeat := _REPEAT.match(self._text, self._at):
            self._at = repeat.end()
            least, comma, most = repeat.groups()
            item = f"({item}){{{least},{most or ''}}}" if comma else f"({item}){{{least}}}"
        return item

    def _character(self) -> str:
        if self._at >= len(self._text):
            raise self._wrong("the end is missing")
        if self._text[self._at] != "\\":
            self._at += 1
            return self._text[self._at - 1]
        escape = _ESCAPE.match(self._text, self._at)
        if escape is None:
            raise self._wrong(self._text[self._at : self._at + 2])
        self._at = escape.end()
        *codes, letter = escape.groups()
        if letter:
            return _CONTROLS.get(letter, letter)
        code = int(next(filter(None, codes)), 16)
        if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
            raise self._wrong(escape[0])
        return chr(code)

    def _literal(self) -> str:
        self._at += 1
        characters: list[str] = []
        while not self._text.startswith('"', self._at):
            characters.append(f"/{escaped(self._character())}/")
        self._at += 1
        return f"({' '.join(characters)})" if characters else '""'

    def _class(self) -> str:
        self._at += 1
        head = "[^" if self._text.startswith("^", self._at) else "["
        self._at += len(head) - 1
        members: list[str] = []
        while not self._text.startswith("]", self._at):
            first = last = self._character()
            if self._text.startswith("-", self._at) and not self._text.startswith("-]", self._at):
                self._at += 1
                last = self._character()
            if first > last:
                raise self._wrong(f"[{first}-{last}]")
            members.append(escaped(first) if first == last else f"{escaped(first)}-{escaped(last)}")
        self._at += 1
        if not members:
            raise self._wrong(f"{head}]")
        return f"/{head}{''.join(members)}]/"
