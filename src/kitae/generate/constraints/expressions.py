"""Regular expressions as JSON Schema means them (ECMA-262), written so that llguidance's engine reads the same language.

Engines agree on most of the syntax and differ where nobody looks: what a dot leaves out, what `\\d` takes in, what `&&` is in a
class. Whatever could be read in two ways is spelled out here, or refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_WORD = "A-Za-z0-9_"
_SPACE = r"\t\n\x0b\x0c\r\x20\u{a0}\u{1680}\u{2000}-\u{200a}\u{2028}\u{2029}\u{202f}\u{205f}\u{3000}"
_SPACE_SOMEWHERE = _SPACE + r"\x1c-\x1f\u{85}\u{feff}"  # what some dialect counts as space
_CLASSES = {"d": "0-9", "w": _WORD, "s": _SPACE}
_NOT_CLASSES = {"D": "0-9", "W": _WORD, "S": _SPACE_SOMEWHERE}
_ANY_BUT_LINE_ENDS = r"[^\n\r\u{2028}\u{2029}]"
_CONTROLS = {"t": "\t", "n": "\n", "v": "\v", "f": "\f", "r": "\r", "0": "\0"}
_QUANTIFIER = re.compile(r"(?:[*+?]|\{(\d+)(?:(,)(\d*))?\})\??")
_CATEGORY = re.compile(r"[pP]\{(L[ulmot]?|M[nce]?|N[dlo]?|P[cdseifo]?|S[mcko]?|Z[slp]?)\}")
_LONGEST_REPEAT = 10_000
_HEAVIEST = 10_000
_OF_CATEGORY = 200  # a Unicode category is a large automaton
_DEEPEST = 50


class BadExpression(Exception):
    """Says what of an expression isn't supported."""


def escaped(character: str) -> str:
    """A character that stands for itself, whatever its neighbours are."""
    return character if character.isalnum() and character.isascii() else f"\\u{{{ord(character):x}}}"


def portable(expression: str, whole: bool = False) -> str:
    """The same expression in llguidance's syntax. `whole`: it is matched from beginning to end, and may say so."""
    parts = list(_parts(expression))
    if whole:
        parts = _without_ends(parts)
    return "".join(parts)


def _without_ends(parts: list[str]) -> list[str]:
    depth = 0
    for part in parts:
        depth += (part == "(?:") - (part == ")")
        if part == "|" and not depth and ("^" in parts or "$" in parts):
            raise BadExpression("^ or $ beside |")
    inner = parts[1:] if parts[:1] == ["^"] else parts
    inner = inner[:-1] if inner[-1:] == ["$"] else inner
    if "^" in inner or "$" in inner:
        raise BadExpression("^ or $ within an expression")
    return inner


class _Weight:
    """How long an expression is when its repetitions are written out: what a compiler has to build."""

    def __init__(self) -> None:
        self._sums, self._last = [0], 0

    def item(self, weight: int) -> None:
        self._last = weight
        self._grow(weight)

    def opened(self) -> None:
        self._sums.append(0)

    def closed(self) -> None:
        if len(self._sums) == 1:
            raise BadExpression(")")
        self._last = self._sums.pop() + 1
        self._grow(self._last)

    def repeated(self, quantifier: re.Match[str]) -> None:
        times = max(int(quantifier[1] or 1), int(quantifier[3] or 1))
        self._grow(self._last * (times - 1))

    def done(self) -> None:
        if len(self._sums) > 1:
            raise BadExpression("(")

    def _grow(self, by: int) -> None:
        self._sums[-1] += by
        if sum(self._sums) > _HEAVIEST or len(self._sums) > _DEEPEST:
            raise BadExpression("too large when its repetitions are written out")


def _parts(expression: str) -> Iterator[str]:
    at, repeatable, weight = 0, False, _Weight()
    while at < len(expression):
        character = expression[at]
        quantifier = _QUANTIFIER.match(expression, at)
        if quantifier:
            if not repeatable:
                raise BadExpression(f"{quantifier[0]} with nothing to repeat")
            yield _repeat(quantifier)
            weight.repeated(quantifier)
            at, repeatable = quantifier.end(), False
            continue
        repeatable = character not in "^$|("
        if character not in "()":
            weight.item(_OF_CATEGORY if _CATEGORY.match(expression, at + 1) else 1)
        if character == "\\":
            part, at = _escape(expression, at + 1)
            yield part
            continue
        if character == "[":
            part, at = _class(expression, at + 1)
            weight.item(_OF_CATEGORY * part.lower().count("\\p"))
            yield part
            continue
        if character == "(":
            weight.opened()
            yield "(?:"
            at += _group(expression, at)
            continue
        if character == ")":
            weight.closed()
        if re.match(r"\{[\d,]", expression[at : at + 2]):  # {,5} and the like: text for some, a repetition for others
            raise BadExpression(expression[at : at + 4])
        yield _ANY_BUT_LINE_ENDS if character == "." else character if character in "^$|)" else escaped(character)
        at += 1
    weight.done()


def _repeat(quantifier: re.Match[str]) -> str:
    """Whether it is lazy changes nothing about which texts match."""
    least, comma, most = quantifier.groups()
    if least is None:
        return quantifier[0][0]
    if len(least) > 5 or len(most or "") > 5 or max(int(least), int(most or 0)) > _LONGEST_REPEAT:
        raise BadExpression(quantifier[0])
    if most and int(most) < int(least):
        raise BadExpression(quantifier[0])
    return f"{{{int(least)}{comma or ''}{int(most) if most else ''}}}"


def _group(expression: str, at: int) -> int:
    """How long the beginning of a group is."""
    head = re.compile(r"\((?:\?(?::|<[A-Za-z_$][\w$]*>))?(?!\?)").match(expression, at)
    if head is None:
        raise BadExpression(expression[at : at + 4])
    return len(head[0])


def _escape(expression: str, at: int) -> tuple[str, int]:
    """What follows a backslash outside of a class."""
    letter = expression[at : at + 1]
    if letter in _CLASSES:
        return f"[{_CLASSES[letter]}]", at + 1
    if letter in _NOT_CLASSES:
        return f"[^{_NOT_CLASSES[letter]}]", at + 1
    category = _CATEGORY.match(expression, at)
    if category:
        return f"\\{category[0]}", category.end()
    character, at = _character(expression, at)
    return escaped(character), at


def _character(expression: str, at: int) -> tuple[str, int]:
    """The one character that an escape stands for."""
    rest = expression[at : at + 16]
    hexadecimal = re.match(r"x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|u\{([0-9a-fA-F]{1,6})\}", rest)
    if hexadecimal:
        pair = re.match(r"u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})", rest)
        if pair:
            high, low = int(pair[1], 16), int(pair[2], 16)
            return chr(0x10000 + ((high - 0xD800) << 10) + low - 0xDC00), at + pair.end()
        code = int(next(filter(None, hexadecimal.groups())), 16)
        if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
            raise BadExpression("\\" + hexadecimal[0])
        return chr(code), at + hexadecimal.end()
    control = re.match(r"c([A-Za-z])", rest)
    if control:
        return chr(ord(control[1]) % 32), at + 2
    letter = rest[:1]
    if letter in _CONTROLS and letter and not re.match(r"0[0-9]", rest):
        return _CONTROLS[letter], at + 1
    if not letter or letter.isalnum() or letter == "_":  # boundaries, references, and letters that mean something elsewhere
        raise BadExpression("\\" + letter)
    return letter, at + 1


def _class(expression: str, at: int) -> tuple[str, int]:
    """What follows a bracket."""
    negated = expression[at : at + 1] == "^"
    at += negated
    parts: list[str] = []
    while True:
        if at >= len(expression):
            raise BadExpression("[")
        if expression[at] == "]":
            break
        part, at = _member(expression, at, negated)
        if expression[at : at + 1] == "-" and expression[at + 1 : at + 2] not in ("]", ""):
            last, at = _member(expression, at + 1, negated)
            if len(part) != 1 or len(last) != 1 or part > last:
                raise BadExpression(f"[{part}-{last}]")
            parts.append(f"{escaped(part)}-{escaped(last)}")
        else:
            parts.append(escaped(part) if len(part) == 1 else part)
    if not parts:
        raise BadExpression("[^]" if negated else "[]")
    return f"[{'^' if negated else ''}{''.join(parts)}]", at + 1


def _member(expression: str, at: int, negated: bool) -> tuple[str, int]:
    """A single character as itself, a class within the class as it is written."""
    if expression[at] != "\\":
        return expression[at], at + 1
    letter = expression[at + 1 : at + 2]
    if letter == "b":
        return "\b", at + 2
    if letter == "s" and negated:  # less is allowed if more is left out
        return _SPACE_SOMEWHERE, at + 2
    if letter in _CLASSES:
        return _CLASSES[letter], at + 2
    if letter in _NOT_CLASSES:
        return f"[^{_SPACE if letter == 'S' and negated else _NOT_CLASSES[letter]}]", at + 2
    category = _CATEGORY.match(expression, at + 1)
    if category:
        return f"\\{category[0]}", category.end()
    return _character(expression, at + 1)
