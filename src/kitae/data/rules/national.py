"""Numbers that states and banks give to persons: known by their form and check digits, or by their name alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

_TO_9, _LETTERS = "0123456789", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_SPANISH = "TRWAGMYFPDXBNJZSQVHLCKE"
_ODD = (*(1, 0, 5, 7, 9, 13, 15, 17, 19, 21) * 2, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)
_ITALIAN_ODD = dict(zip(_TO_9 + _LETTERS, _ODD, strict=True))


def places(text: str) -> Iterator[tuple[str, int, int]]:
    """Kind, start and end; of numbers known by their name, the name is no part."""
    for form, right in _FORMS:
        yield from (("identity", *match.span()) for match in form.finditer(text) if right(_bare(match.group())))
    for kind, pattern in _NAMED:
        yield from ((kind, *match.span(1)) for match in pattern.finditer(text))


def possible(text: str) -> bool:
    return bool(_SIGN.search(text))


def _bare(text: str) -> str:
    return re.sub(r"[^0-9A-Z]", "", text)


def _any(_: str) -> bool:
    return True


def _spanish(number: str) -> bool:
    digits = str("XYZ".find(number[0])) + number[1:-1] if number[0] in "XYZ" else number[:-1]
    return _SPANISH[int(digits) % 23] == number[-1]


def _italian(number: str) -> bool:
    values = [_ITALIAN_ODD[sign] if i % 2 == 0 else int(sign, 36) - 10 * sign.isalpha() for i, sign in enumerate(number[:-1])]
    return _LETTERS[sum(values) % 26] == number[-1]


def _french(number: str) -> bool:
    return 97 - int(number[:13]) % 97 == int(number[13:])


def _brazilian(number: str) -> bool:
    def check(digits: str) -> int:
        whole = sum(int(digit) * (len(digits) + 1 - i) for i, digit in enumerate(digits))
        return whole * 10 % 11 % 10

    return len(set(number)) > 1 and number[9:] == f"{check(number[:9])}{check(number[:10])}"


_FORMS: tuple[tuple[re.Pattern[str], Callable[[str], bool]], ...] = tuple(
    (re.compile(form), right)
    for form, right in (
        (r"(?<![\d-])(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])", _any),  # of the United States
        (r"(?<!\d)\d{6}-[1-4]\d{6}(?!\d)", _any),  # of Korea
        (r"(?<!\d)[1-6]\d{5}(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dXx](?!\d)", _any),  # of China
        (r"\b(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] \d{2} \d{2} \d{2} [A-D]\b", _any),  # of Britain
        (r"\b(?:\d{8}|[XYZ]-?\d{7})-?[A-HJ-NP-TV-Z]\b", _spanish),
        (r"\b[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z]\b", _italian),
        (r"(?<![\d.-])[12]( ?)\d{2}\1(?:0[1-9]|1[0-2])\1\d{2}\1\d{3}\1\d{3}\1\d{2}(?![\d.-])", _french),
        (r"(?<![\d.-])\d{3}\.\d{3}\.\d{3}-\d{2}(?![\d-])", _brazilian),
        (r"\b[A-Z]{3}[ABCFGHLJPT][A-Z]\d{4}[A-Z]\b", _any),  # of tax payers in India
    )
)
# The kind, what such a number is called, and its form. Between both may stand a few words, but no digit.
_NAMED = tuple(
    (kind, re.compile(rf"(?:{name})\D{{0,{apart}}}?(?<![A-Za-z\d])({form})(?![A-Za-z\d])", re.IGNORECASE))
    for kind, name, apart, form in (
        ("identity", r"social security (?:number|no\b|#)|\bssn\b", 30, r"\d{3} ?\d{2} ?\d{4}"),
        ("identity", r"aadhaar", 20, r"\d{4} ?\d{4} ?\d{4}"),
        ("identity", r"マイナンバー|個人番号|my ?number", 12, r"\d{4}[ -]?\d{4}[ -]?\d{4}"),
        (
            "identity",
            r"passport|パスポート|旅券|reisepass",
            20,
            r"[A-Z]{1,2}\d{6,8}|(?=(?:[A-Z]*\d){4})[A-Z][A-Z\d]{7,8}|\d{9}",
        ),
        ("identity", r"免許証|運転免許", 12, r"\d{12}"),
        ("identity", r"national insurance|\bnino\b|\bNI number", 20, r"[A-Z]{2} ?\d{2} ?\d{2} ?\d{2} ?[A-D]"),
        ("identity", r"(?-i:\bSIN\b)|social insurance", 20, r"\d{3}[ -]?\d{3}[ -]?\d{3}"),
        ("identity", r"\bTFN\b|tax file number", 20, r"\d{3} ?\d{3} ?\d{2,3}"),
        ("identity", r"\bNHS (?:number|no\b)", 20, r"\d{3} ?\d{3} ?\d{4}"),
        ("identity", r"steuer-?id\w*|identifikationsnummer", 20, r"\d{2} ?\d{3} ?\d{3} ?\d{3}"),
        ("identity", r"(?:driver'?s?|driving) licen[cs]e (?:number|no\b|#)", 12, r"(?=(?:[A-Z-]*\d){5})[A-Z\d-]{7,18}"),
        ("account", r"(?:(?:普通|当座)(?:預金|口座)?|口座番号)(?:は|[ 　:：])*", 0, r"\d{7}(?!人|円|個|件|本|台|回)"),
        ("account", r"\baccount (?:number|no\b|#)", 12, r"\d{8,14}"),
    )
)
# What all of them have, looked for first.
_SIGN = re.compile(r"\d(?:[-‐－ ().ー―]{0,2}\d){5}|[A-Z]\d{2}[A-Z]\d{2}|[A-Z]\d{4}[A-Z]")
