"""Numbers that states and banks give to persons: known by their form and check digits, or by what they are called."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

Right = Callable[[str], bool]
_TO_9, _LETTERS = "0123456789", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_SPANISH = "TRWAGMYFPDXBNJZSQVHLCKE"
_ODD = (*(1, 0, 5, 7, 9, 13, 15, 17, 19, 21) * 2, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)
_ITALIAN_ODD = dict(zip(_TO_9 + _LETTERS, _ODD, strict=True))
_DATE = re.compile(r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])")


def places(text: str) -> Iterator[tuple[str, int, int]]:
    """Kind, start and end; what a number is called is no part of it."""
    for form, right in _FORMS:
        yield from (("identity", *match.span()) for match in form.finditer(text) if right(_bare(match.group())))
    for kind, pattern, right in _NAMED:
        yield from ((kind, *match.span(1)) for match in pattern.finditer(text) if right(_bare(match.group(1))))


def possible(text: str) -> bool:
    return bool(_SIGN.search(text))


def luhn(digits: str) -> bool:
    doubled = [int(digit) * (1 + i % 2) for i, digit in enumerate(reversed(digits))]
    return sum(number - 9 * (number > 9) for number in doubled) % 10 == 0


def _bare(text: str) -> str:
    return re.sub(r"[^0-9A-Z]", "", text.upper())


def _any(_: str) -> bool:
    return True


def _chinese(number: str) -> bool:
    whole = sum(int(sign) * pow(2, 17 - i, 11) for i, sign in enumerate(number[:17]))
    return (whole + "0123456789X".index(number[17])) % 11 == 1


def _spanish(number: str) -> bool:
    digits = f"{'XYZ'.index(number[0])}{number[1:-1]}" if number[0] in "XYZ" else number[:-1]
    return _SPANISH[int(digits) % 23] == number[-1] and not _DATE.match(number)


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


_FORMS: tuple[tuple[re.Pattern[str], Right], ...] = tuple(
    (re.compile(form, re.ASCII), right)
    for form, right in (
        (r"(?<![\d-])(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])", _any),  # of the United States
        (r"(?<!\d)\d{6}-[1-4]\d{6}(?!\d)", _any),  # of Korea
        (r"(?<!\d)[1-6]\d{5}(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dXx](?!\d)", _chinese),
        (r"\b(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] \d{2} \d{2} \d{2} [A-D]\b", _any),  # of Britain
        (r"\b(?:\d{2}(\.?)\d{3}\1\d{3}|[XYZ]-?\d{7})-?[A-HJ-NP-TV-Z]\b", _spanish),
        (r"\b[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z]\b", _italian),
        (r"(?<![\d.-])[12]( ?)\d{2}\1(?:0[1-9]|1[0-2])\1\d{2}\1\d{3}\1\d{3}\1\d{2}(?![\d.-])", _french),
        (r"(?<![\d.-])\d{3}\.\d{3}\.\d{3}-\d{2}(?![\d-])", _brazilian),
    )
)
_NO = r"(?:number|no\b\.?(?=[\s:.]*\d)|#)"
# The kind, what such a number is called, how many signs may stand between, its form, and whether it is right.
_NAMED: tuple[tuple[str, re.Pattern[str], Right], ...] = tuple(
    (kind, re.compile(rf"(?:{name})\D{{0,{apart}}}?(?<![A-Za-z\d])({form})(?![A-Za-z\d])", re.IGNORECASE | re.ASCII), right)
    for kind, name, apart, form, right in (
        ("identity", rf"social security {_NO}|\bssn\b", 30, r"\d{3} ?\d{2} ?\d{4}", _any),
        ("identity", r"aadhaar", 20, r"\d{4}[ -]?\d{4}[ -]?\d{4}", _any),
        ("identity", r"マイナンバー|個人番号|my ?number", 12, r"\d{4}[ -]?\d{4}[ -]?\d{4}", _any),
        ("identity", r"\bpassport\b(?! holder)|パスポート|旅券|reisepass", 20, r"[A-Z]{1,2} ?\d{6,8}", _any),
        ("identity", r"\bpassport\b(?! holder)|reisepass", 12, r"(?=(?:[A-Z]*\d){4})[A-Z][A-Z\d]{8}", _any),
        ("identity", rf"\bpassport {_NO}|(?:パスポート|旅券)番号", 6, r"\d{9}", _any),
        ("identity", r"免許証|運転免許", 12, r"\d{12}", _any),
        ("identity", r"national insurance|\bnino\b|\bNI number", 20, r"[A-Z]{2} ?\d{2} ?\d{2} ?\d{2} ?[A-D]", _any),
        ("identity", r"(?-i:\bPAN\b)|permanent account", 20, r"[A-Z]{3}[ABCFGHLJPT][A-Z]\d{4}[A-Z]", _any),
        ("identity", r"(?-i:\bCPF\b)", 12, r"\d{11}", _brazilian),
        ("identity", r"(?-i:\bSIN\b)|social insurance", 20, r"\d{3}[ -]?\d{3}[ -]?\d{3}", luhn),
        ("identity", r"(?-i:\bTFN\b)|tax file number", 20, r"\d{3} ?\d{3} ?\d{2,3}", _any),
        ("identity", rf"\bNHS {_NO}", 20, r"\d{3} ?\d{3} ?\d{4}", _any),
        ("identity", r"steuer-?id\w*|identifikationsnummer", 20, r"\d{2} ?\d{3} ?\d{3} ?\d{3}", _any),
        ("identity", rf"(?:driver'?s?|driving) licen[cs]e {_NO}", 12, r"[A-Z]{0,2}\d{2,}(?:[ -]?\d{2,}){1,4}", _any),
        (
            "account",
            r"(?:普通|当座)(?:預金)?(?:口座)?[ 　:：]*|(?:預金|口座)(?:番号)?(?:は|[ 　:：「])+",
            0,
            r"\d{7}(?=$|[\s。、」)）,.])",
            _any,
        ),
        ("account", rf"\baccount {_NO}", 12, r"\d{8,14}", _any),
        ("phone", r"\btel(?:efon)?\b|\bruf\w*|anrufen|erreichbar|\bfax\b", 20, r"0\d{2,4}[ /-]?\d{5,8}", _any),
        (
            "key",
            r"secret|\baws\b",
            30,
            r"(?-i:(?=[A-Z/+\d]*[a-z])(?=[a-z/+\d]*[A-Z])(?=[A-Za-z/+]*\d)[A-Za-z\d/+]{40})",
            _any,
        ),
    )
)
# One of which all of them have, looked for first.
_SIGN = re.compile(
    r"[0-9](?:[-‐－ ().ー―]{0,2}[0-9]){5}|[A-Za-z][0-9]{1,2}[A-Za-z][0-9]|[A-Za-z]{5}[0-9]{4}[A-Za-z]|[A-Za-z0-9/+]{40}"
)
