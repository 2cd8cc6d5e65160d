"""`data.encoding`: text that was read in another encoding than it was written in, or that still has a format's escapes.
Mended where there is one way back."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from html import unescape
from html.entities import html5
from string import ascii_letters

from kitae.data.clean.rules.finding import RowView, excerpt
from kitae.data.read.finding import Finding
from kitae.data.same import looks_like_code

GATE = "data.encoding"
_CP1252 = {
    character: byte for byte in range(0x80, 0xA0) if (character := bytes([byte]).decode("cp1252", "replace")) != "\ufffd"
}
_BYTES = {**{chr(byte): byte for byte in range(0x100)}, **_CP1252}


def _of_bytes(first: int, last: int) -> str:
    return "[" + "".join(re.escape(char) for char, byte in _BYTES.items() if first <= byte <= last) + "]"


_NEXT = _of_bytes(0x80, 0xBF)
# UTF-8 read as Latin-1 or Windows-1252: a first byte, and as many of the others as it announces.
_UTF8_AS_LATIN = re.compile(
    f"(?:{_of_bytes(0xC2, 0xDF)}{_NEXT}|{_of_bytes(0xE0, 0xEF)}{_NEXT}{{2}}|{_of_bytes(0xF0, 0xF4)}{_NEXT}{{3}})+"
)
_HIGH = _of_bytes(0x80, 0xFF)
_JAPANESE_AS_LATIN = re.compile(f"(?:{_HIGH}[ -~]?){{4,}}")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]{3,}")
# Of a character of three bytes one got lost; the others stand beside true ones.
_REMAINS = re.compile(f"{_of_bytes(0xE3, 0xE7)}{_NEXT}")
_EAST_ASIAN = re.compile("[぀-ヿ一-鿿가-힣]")


def _read_as(encoding: str, first: int, last: int) -> str:
    """What these bytes are in that encoding, as a class of characters."""
    read = (bytes([byte]).decode(encoding, "ignore") for byte in range(first, last + 1))
    return "[" + "".join(re.escape(character) for character in read if character) + "]"


# UTF-8 read as Windows-1251: Cyrillic becomes pairs that begin with Р or С.
_PAIR = f"(?:Р{_read_as('cp1251', 0x90, 0xBF)}|С{_read_as('cp1251', 0x80, 0x9F)})"
_UTF8_AS_CYRILLIC = re.compile(_PAIR)
_SIGN_AS_CYRILLIC = re.compile("вЂ[^\\s\\w]|вЂ[™˜¦]")
_CYRILLIC_WORD = re.compile(f"{_PAIR}{{3}}")
_CYRILLIC = re.compile("[Ѐ-ӿ]")
# UTF-8 read as Mac Roman: quotes, and accented letters beside others.
_NEXT_ON_MAC = _read_as("mac_roman", 0x80, 0xBF)
_ACCENT_ON_MAC = f"√(?![∑∏π∫Ωµ∞∂≠≤≥±°ƒ≈]){_NEXT_ON_MAC}"  # without what stands behind a root in formulas
_UTF8_AS_MAC = re.compile(f"‚Ä{_NEXT_ON_MAC}|(?<=[A-Za-z]{{2}}){_ACCENT_ON_MAC}|{_ACCENT_ON_MAC}(?=[a-z]{{2}})")
_ACCENT_OF_MAC = re.compile(f"[√≈ƒ¬]{_NEXT_ON_MAC}")
# UTF-8 read as any of these: all that is not ASCII must be UTF-8 again, which true text in none of them ever is.
_PAGES = ("cp437", "cp850", "cp866", "koi8-r", "cp1251", "cp1250")
_EAST_ASIAN_PAGES = (
    "gbk",
    "big5",
    "euc_jp",
    "cp932",
)  # whose true text may be by chance, but not within words in Latin letters
_RUN = re.compile(r"[^\x00-\x7f]+")
_LETTERS = frozenset(ascii_letters)
# One alphabet of eight bits read as another: letters of both in one word; or capitals for small letters.
_MIXED_WORD = re.compile(r"[A-Za-z]{2}[Ѐ-ӿ]|[Ѐ-ӿ][A-Za-z]{2}")
_WRONG_CASE = re.compile(r"(?<![^\W\d_])[а-яё][А-ЯЁ]{3,}(?![^\W\d_])")
# Signs for frames that hardly anybody draws, beside letters.
_FRAME_IN_WORD = re.compile(r"[^\W\d_][╒-╬▀-▐]|[╒-╬▀-▐][^\W\d_]")
# How HTML and JSON write characters; in prose they are left over from a conversion.
_ENTITY = re.compile(r"(?<![`'\"“‘「])&(?:[A-Za-z]{2,8}|#\d{2,6}|#[xX][0-9a-fA-F]{2,5});")
_UNIT = re.compile(r"(?:\\u[0-9a-fA-F]{4})+")
_BYTES_WRITTEN = re.compile(r"(?:\\x[0-9a-fA-F]{2}){2,}")
_ESCAPE_ASKED = re.compile(r"\\[a-zA-Z]|&#?\w+;|\b(?:entit(?:y|ies)|escap\w+)\b|実体参照|エスケープ", re.IGNORECASE)
_PATH_OR_FORMULA = re.compile(r"\b[A-Za-z]:\\|\\(?![nrt\"\\u])|\\[nrtu][a-z]{2}\w*[{}]|\\begin")
_LINE_END = re.compile(r"(?:\\r)?\\n(?=\\|[A-Z](?!\w*arrow)|\s|-|\d\.|$)")  # and no \nu of a formula
# What hiragana and katakana in UTF-8 begin with, read as Shift JIS.
_TYPICAL = "縺繧繝"
# Of invisible spaces and hyphens, those within scripts that have no use for them; Khmer and Thai break lines with them.
_VISIBLE = "[!-~぀-ヿ一-鿿]"
_UNSEEN = re.compile(
    r"\x1b\[[\d;]*[A-Za-z]|[\x00-\x08\x0b\x0e-\x1f\x7f\ufeff\ufffe\uffff]"
    rf"|(?<={_VISIBLE})[\u200b\u2060\xad]+|[\u200b\u2060\xad]+(?={_VISIBLE})"
)
# Kana in EUC-JP, read as Shift JIS: half-width marks, each before another half-width sign.
_EUC_KANA = re.compile("[､･][｡-ﾟ]")
_LOST = re.compile(r"\ufffd|[\ue000-\uf8ff]{2,}|锟斤拷|(?:烫){3,}")
_LOST_LETTERS = re.compile(r"(?<!\S)\?{2,}(?:[ ,.!:;]+\?{2,}){3,}")  # words of an alphabet that an encoding had not
_LOST_APOSTROPHES = re.compile(r"(?<=[A-Za-z])\?(?=(?:s|t|re|ve|ll|d|m)\b)")
_ABOUT = re.compile(
    r"\b(?:encod(?:e|ed|ing|ings)|utf-?8|unicode|latin-?1|charsets?|mojibake|garbled|iso-8859-1|cp1252|shift[_-]?jis)\b|文字化け|文字コード",
    re.IGNORECASE,
)
_HALF = re.compile(r"[\x80-\x84\x86-\x9f]")  # nobody writes these; what holds them was decoded in part only
_ROUNDS = 3  # some texts were read wrongly more than once


def find(view: RowView) -> Iterator[Finding]:
    found = [finding for text in view.texts if (finding := _finding(text) or _escapes(text))]
    if any(finding.kind == "escaped" for finding in found) and may_be_escaped(view):
        found = [finding for finding in found if finding.kind != "escaped"]
    if found and not any(_ABOUT.search(text) for text in view.said):
        yield from found


def may_be_escaped(view: RowView) -> bool:
    """Whether escapes may be what a row is about."""
    if view.is_text:
        return looks_like_code(view.said[0]) or bool(_ESCAPE_ASKED.search(view.said[0]))
    return any(
        exchange.is_about_code or exchange.is_about_markup or _ESCAPE_ASKED.search(exchange.asked)
        for exchange in view.exchanges
    )


def _finding(text: str) -> Finding | None:
    if not text.isascii():
        if lost := _LOST.search(text):
            return Finding(GATE, "lost", excerpt(text, *lost.span()))
        mended = _decoded(text)
        if _HALF.search(mended) or _is_no_language(mended) or _has_remains(mended):
            return Finding(GATE, "lost", excerpt(text, 0, 40))
        if mended != text:
            at = next((i for i, (a, b) in enumerate(zip(text, mended, strict=False)) if a != b), 0)
            return Finding(GATE, "mojibake", f"{excerpt(text, at, at + 12)} → {excerpt(mended, at, at + 6)}")
        if sum(map(text.count, _TYPICAL)) * 6 >= len(text) >= 6:
            return Finding(GATE, "lost", excerpt(text, 0, 30))
    if unseen := _UNSEEN.search(text):
        return Finding(GATE, "unseen", f"U+{ord(unseen.group()[0]):04X}: {excerpt(text, *unseen.span())!r}")
    if not text.isascii() and (
        len(_MIXED_WORD.findall(text)) >= 3 or _WRONG_CASE.search(text) or len(_FRAME_IN_WORD.findall(text)) >= 4
    ):
        return Finding(GATE, "lost", excerpt(text, 0, 40))
    if "??" in text and (letters := _LOST_LETTERS.search(text)):
        return Finding(GATE, "lost", excerpt(text, *letters.span()))
    lost_marks = list(_LOST_APOSTROPHES.finditer(text))
    if len(lost_marks) >= 2 and "'" not in text and "’" not in text:
        return Finding(GATE, "lost", excerpt(text, *lost_marks[0].span()))
    return None


def _has_remains(text: str) -> bool:
    """Twice, because a foreign word between quotation marks may look like one."""
    return bool(_EAST_ASIAN.search(text)) and len(_REMAINS.findall(text)) >= 2


def _escapes(text: str) -> Finding | None:
    better = _unescaped(text)
    if better == text:
        return None
    at = next((i for i, (a, b) in enumerate(zip(text, better, strict=False)) if a != b), 0)
    return Finding(GATE, "escaped", f"{excerpt(text, at, at + 12)} → {excerpt(better, at, at + 6)}")


def _unescaped(text: str) -> str:
    for _ in range(_ROUNDS):
        better = _ENTITY.sub(_character, text) if "&" in text else text
        if "\\u" in better:
            better = _UNIT.sub(lambda found: _from_hex(found, "\\u", "utf-16-be"), better)
        if "\\x" in better:
            better = _BYTES_WRITTEN.sub(lambda found: _from_hex(found, "\\x", "utf-8"), better)
        if better == text:
            break
        text = better
    ends = _LINE_END.findall(text) if "\\n" in text and not _PATH_OR_FORMULA.search(text) else []
    if len(ends) >= 2 or (ends and text.startswith(("\\n", "\\r"))):
        text = _LINE_END.sub("\n", text).strip("\n")
    return text


def _character(found: re.Match[str]) -> str:
    """Only whole names: a parser of HTML would also take the beginning of `&section;` for one."""
    name = found.group()[1:]
    return unescape(found.group()) if name.startswith("#") or name in html5 else found.group()


def _from_hex(found: re.Match[str], sign: str, encoding: str) -> str:
    try:
        return bytes.fromhex(found.group().replace(sign, "")).decode(encoding)
    except UnicodeDecodeError:
        return found.group()


def _is_no_language(text: str) -> bool:
    """Most of it are letters and signs that languages use here and there: another alphabet, read as Latin-1."""
    seen = [character for character in text[:400] if not character.isspace()]
    return len(seen) >= 6 and sum("\xa1" <= character <= "\xff" for character in seen) * 2 > len(seen)


def mended(text: str, escapes: bool = True) -> str:
    """As it was meant, as far as that is certain."""
    if not text.isascii():
        text = _decoded(text)
    if escapes:
        text = _decoded(_unescaped(text))
    return _UNSEEN.sub("", text)


def _decoded(text: str) -> str:
    for _ in range(_ROUNDS):
        if text.isascii():
            break
        better = _UTF8_AS_LATIN.sub(_from_latin, text)
        better = _NOT_ASCII.sub(_from_shift_jis, better)
        better = _JAPANESE_AS_LATIN.sub(_japanese_from_latin, better)
        if len(_UTF8_AS_MAC.findall(better)) >= 2:  # then accents that stand alone are no roots of formulas either
            better = _ACCENT_OF_MAC.sub(lambda found: _reread_as("mac_roman", found.group()), better)
        better = _UTF8_AS_MAC.sub(lambda found: _reread_as("mac_roman", found.group()), better)
        better = _SIGN_AS_CYRILLIC.sub(lambda found: _reread_as("cp1251", found.group()), better)
        pairs = _UTF8_AS_CYRILLIC.findall(better)
        if len(pairs) >= 3 and _CYRILLIC_WORD.search(better) and len(_CYRILLIC.findall(better)) <= 2.2 * len(pairs):
            better = _UTF8_AS_CYRILLIC.sub(lambda found: _reread_as("cp1251", found.group()), better)
        better = _from_page(text) if better == text else better
        if better == text:
            break
        text = better
    return text


def _from_page(text: str) -> str:
    found = list(_RUN.finditer(text))
    runs = [run.group() for run in found]
    edges = [
        (text[max(0, run.start() - 1) : run.start()] in _LETTERS, text[run.end() : run.end() + 1] in _LETTERS) for run in found
    ]
    within = any(all(sides) for sides in edges)
    for page in _PAGES + _EAST_ASIAN_PAGES if len(runs) > 1 and all(map(any, edges)) else _PAGES:
        try:
            meant = [run.encode(page).decode("utf-8") for run in runs]
        except UnicodeError:
            continue
        said = "".join(meant)
        if len(runs) < 2 and len(said) < 3 and not within:
            continue
        if all(unicodedata.category(character)[0] in "LPZ" for character in said) and (
            page in _PAGES
            or all(character < "\u0250" or "\u2010" <= character <= "\u2027" for character in said if character >= "\x80")
        ):
            left = iter(meant)
            return _RUN.sub(lambda _: next(left), text)  # noqa: B023 - done before the next turn
    return text


def _from_latin(found: re.Match[str]) -> str:
    read = found.group()
    try:
        meant = bytes(_BYTES[character] for character in read).decode("utf-8")
    except UnicodeDecodeError:
        return read
    if any(unicodedata.category(character) in ("Cn", "Co", "Cc") and not "\x80" <= character <= "\x9f" for character in meant):
        return read
    if any("\x80" <= character <= "\x9f" for character in read):  # characters that nobody writes
        return meant
    return "".join(_if_likely(piece, character, len(meant) > 1) for piece, character in _paired(read, meant))


def _paired(read: str, meant: str) -> Iterator[tuple[str, str]]:
    at = 0
    for character in meant:
        width = len(character.encode("utf-8"))
        yield read[at : at + width], character
        at += width


def _if_likely(read: str, meant: str, several: bool) -> str:
    """Two characters that make an accented letter may stand together in true text; three that make a sign do not."""
    if len(read) > 2:
        return meant
    if read[0] in "ÂÃÄÅ":
        return meant if meant in "\xa0\xad" or unicodedata.category(meant)[0] in "LSPN" else read
    return meant if read[0] in "ÎÏÐÑ" and several and unicodedata.name(meant, "").startswith(("GREEK", "CYRILLIC")) else read


def _reread_as(encoding: str, read: str) -> str:
    try:
        return read.encode(encoding).decode("utf-8")
    except UnicodeError:
        return read


def _from_shift_jis(found: re.Match[str]) -> str:
    read = found.group()
    if len(read) >= 8 and len(_EUC_KANA.findall(read)) * 5 >= len(read):
        return _reread(read, lambda text: text.encode("cp932"), "euc_jp")
    if not any(character in read for character in _TYPICAL):
        return read
    return _reread(read, lambda text: text.encode("cp932"), "utf-8")


def _japanese_from_latin(found: re.Match[str]) -> str:
    """Shift JIS or EUC-JP, read as Windows-1252: kana give it away."""
    read = found.group()
    kana = sum(map(read.count, "‚ƒ")), sum(map(read.count, "¤¥"))
    encoding = "cp932" if kana[0] >= kana[1] else "euc_jp"
    if max(kana) * 5 < len(read) or max(kana) < 3:
        return read
    return _reread(read, lambda text: bytes(_BYTES[character] for character in text), encoding)


def _reread(read: str, encoded: Callable[[str], bytes], encoding: str) -> str:
    try:
        meant = encoded(read).decode(encoding)
    except (UnicodeError, KeyError):
        return read
    letters = [character for character in meant if character.isalpha()]
    japanese = [c for c in letters if "぀" <= c <= "ヿ" or "一" <= c <= "鿿"]
    return meant if letters and len(japanese) * 10 >= len(letters) * 9 else read
