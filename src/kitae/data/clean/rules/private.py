"""`data.private`: what lets one reach, charge or impersonate somebody. It is masked, so that the row may stay."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator

from kitae.data.clean.rules import national, patterns
from kitae.data.clean.rules.finding import RowView, excerpt
from kitae.data.read.finding import Finding

GATE = "data.private"
Place = tuple[str, int, int]  # the kind of what lies there, start and end
_BUILDING = (
    r"(?:[ 　](?:[^\s、。:：\d-]{0,14}(?:マンション|ハイツ|コーポ|アパート|ビル|荘|ハウス|メゾン)"
    r"[^\s、。:：-]{0,12}|\d{1,4}号室?))?"
)
_KINDS: dict[str, re.Pattern[str]] = {
    "key": patterns.any_of("key"),
    "mail": re.compile(
        r"(?<![A-Za-z0-9.+-])[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}[@＠](?:[A-Za-z0-9-]{1,63}[.．]){1,5}[A-Za-z]{2,24}(?![A-Za-z0-9_@])"
    ),
    "account": re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b"),
    "card": re.compile(r"(?<![\d.-])(?:\d{4}([ -]?)\d{4}\1\d{4}\1\d{4}(?:\1\d{1,3})?|3[47]\d{2}([ -]?)\d{6}\2\d{5})(?![\d-])"),
    "phone": re.compile(
        r"(?<![A-Za-z0-9.+-])(?:\+\d{1,3}[ .-]?(?:\(?\d{1,4}\)?[ .-]?){2,4}\d{2,4}|\(\d{3}\) ?\d{3}[ .-]\d{4}"
        r"|[(（]0\d{1,4}[)）][ -]?\d{2,4}[ -]\d{3,4}|00[1-9]\d{1,2}[ .-](?:\(?\d{1,4}\)?[ .-]?){2,4}\d{2,4}"
        r"|[2-9]\d{2}[.-]\d{3}[.-]\d{4}"
        r"|0\d{1,4}[-‐－ (（]\d{1,4}[-‐－ )）]\d{3,4}|0[5789]0\d{8}"
        r"|\(?01[5-7]\d{1,2}\)?[ /-]\d{7,8}|0\d(?: \d{2}){4}|(?<!\d)1[3-9]\d{9}"
        r"|[０][０-９]{1,4}[-－ー―][０-９]{1,4}[-－ー―][０-９]{3,4})(?![A-Za-z0-9-])"
    ),
    "address": re.compile(
        r"〒? ?\d{3}[-‐－]\d{4}\s*(?:東京都|北海道|(?:大阪|京都)府|[一-鿿]{2,3}県)[^\s、。]{2,40}"
        + _BUILDING
        + r"|(?:東京都|北海道|(?:大阪|京都)府|[一-鿿]{2,3}県)[一-鿿ぁ-んァ-ヶー]{1,14}[市区町村郡][^\s、。]{0,24}?"
        r"\d{1,4}(?:丁目|番地|[-‐－]\d{1,4})[^\s、。]{0,16}"
        + _BUILDING
        + r"|[一-鿿ァ-ヶー]{1,8}[市区町村][一-鿿ぁ-んァ-ヶー]{1,12}"
        r"(?:\d{1,2}[-‐－]\d{1,3}[-‐－]\d{1,4}|\d{1,2}丁目\d{1,3}番(?:地の?)?\d{1,4}号?)"
        r"|\bP\.? ?O\.? Box \d{1,6},? [A-Z][A-Za-z ]{2,20},? [A-Z]{2} \d{5}"
        r"|\b\d{1,5} (?:[A-Z][a-z]+ ){1,3}(?:Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr)\.?,? "
        r"(?:Apt\.? \w+,? )?"
        r"[A-Z][A-Za-z ]{2,20},? (?:[A-Z]{2} \d{5}(?:-\d{4})?|[A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2})\b"
        r"|(?<![\w.-])(?:[A-ZÄÖÜ][\w.-]{0,40}(?:[sS]tra(?:ß|ss)e|[sS]tr\.|[wW]eg|[pP]latz|[aA]llee|[gG]asse|[rR]ing|[dD]amm)"
        r"|(?:Via|Viale|Piazza|An der|Am|Im|Zum|Zur|Auf der|Unter den)(?: [A-ZÄÖÜ][\w.-]+){1,2}) \d{1,4}[a-z]?, (?:D-)?\d{5} "
        r"[A-ZÄÖÜ][a-zäöüß]{2,}"
        r"|\b\d{1,4}(?: (?:bis|ter))?,? (?:rue|avenue|boulevard|place|allée|chemin|impasse|quai|cours) [^\d\n,]{3,40},? "
        r"\d{5} [A-ZÉÈÎ][\w-]{2,}"
    ),
}
# Letters and numbers, so that no word that only follows is taken for one; and not what was made up on demand.
_PASSWORD = re.compile(
    r"(?:(?<!random )(?<!generated )(?<!strong )(?<!secure )(?<!digit )"
    r"\b(?:pass(?:word|wd|phrase|code)|passwort|kennwort|mot de passe|contraseña|login)|パスワード|暗証番号)"
    r"(?:\s*(?:is|are|was|ist|est|es|[:=：]|は)\s*)[\"'“「`]?"
    r"(?P<secret>(?=[^\s、。」]*\d)(?=[^\s、。」]*[A-Za-z])[!-~]{6,64}?)(?=[\"'”」`]?[,.;)]?(?:\s|$|[^!-~]))",
    re.IGNORECASE,
)
_DOT, _DOMAIN = r" ?(?:[\[({] ?dot ?[\])}]| dot ) ?", r"(?:com|net|org|edu|gov|info|jp|de|uk|fr)\b"
# Prose has "at" and "dot" too: only what is spelled on both sides of the one, or brackets, make an address.
_SPELLED_MAIL = re.compile(
    rf"\b(?:[\w.+-]{{2,40}} ?[\[({{] ?at ?[\])}}] ?|(?:[\w+-]{{1,40}} dot [\w-]{{1,40}}|[\w+-]*[\d._][\w.+-]*) at )"
    rf"[\w-]{{2,40}}(?:{_DOT}[\w-]{{1,40}})?{_DOT}{_DOMAIN}",
    re.IGNORECASE,
)
# What is looked for first, since most texts hold none of it: the rules themselves take long.
_SIGNS = """
-----BEGIN sk- sk_ pk- pk_ rk- rk_ AKIA ASIA
ghp_ gho_ ghu_ ghs_ ghr_ github_pat glpat xox AIza hf_ npm_ SG. :// webhooks eyJ
"""
_KEY_SIGNS = tuple(_SIGNS.split())
_NAMES_A_PASSWORD = re.compile(r"pass|kennwort|contrase|login|パスワード|暗証", re.IGNORECASE)
_NUMBER = re.compile(r"\d(?:[-‐－ ().ー―（）]{0,2}\d){6}")
_HOUSE = re.compile(r"\d{5}|\d[A-Z]{2}\b|[都道府県市区町村]")
# Numbers that a company publishes, and those that films and manuals use because nobody has them.
_PUBLIC_PHONE = re.compile(r"^\+?1?[ .-]?\(?(?:800|888|877|866|855|844|833)\)?[ .-]|^0120|^0570|^0800|^\+81[ -]?120")
_NOBODYS_PHONE = re.compile(
    r"123\D?456\D?7890|555\D?\d{4}|\b(\d)\1{2}\D?\1{3}\D?\1{4}|^0?(?:00|0123|9?0-?1234-?5678|3-1234-5678)"
)
_NOBODYS_MAIL = re.compile(
    r"@(?:[\w-]+\.)*(?:example\.(?:com|org|net|jp|co\.jp)|test|invalid|localhost|\w+\.(?:test|example))$|^(?:user|username|name|email|"
    r"you|your\w*|foo|bar|test|someone|john\.?doe|jane\.?doe|john|jane|abc|admin|info|contact|support|sales|help|noreply|no-reply)@|"
    r"@(?:domain|email|company|mail|yourdomain|mycompany|abc|xyz|foo|bar|website|site)\.\w+$",
    re.IGNORECASE,
)
_NOBODYS_PASSWORD = re.compile(r"p[a@]s+w[o0]rd|your|my|example|abc123|qwerty|123|hunter2", re.IGNORECASE)
# Domains that are reserved for examples: nobody can be reached there. A number in the name makes it one person's, who may have
# been given such a domain to hide the real one.
_RESERVED_MAIL = re.compile(
    r"^\D*@(?:[\w-]+\.)*(?:example\.(?:com|org|net|edu|jp|co\.jp)|[\w-]+\.(?:test|example|invalid)|localhost)$", re.IGNORECASE
)
_CODE_BEFORE = re.compile(r"\b(?:[A-Z]+\d|\d+[A-Z])[A-Z\d]* $")  # of which a number is the next group: 1Z 999 AA1 01 …
_SHORT_CODE = 24  # characters
_ROLES = re.compile(
    r"^(?:info|contact|support|sales|help|noreply|no-reply|press|office|service|hello|admin|webmaster|feedback)@", re.IGNORECASE
)


def find(view: RowView) -> Iterator[Finding]:
    suspects = [text for text in view.texts if any(_possible(text))]
    code = bool(suspects) and any(exchange.is_about_code for exchange in view.exchanges)
    for text in suspects:
        for kind, start, end in _places(text, code):
            shown = f"{text[:start]}{text[start : start + 3]}…{text[end:]}"  # reports are passed on
            yield Finding(GATE, kind, excerpt(shown, start, start + 4))


def masked(text: str, code: bool = False) -> str:
    """`code`: examples of code keep what belongs to nobody."""
    for kind, start, end in reversed(_places(text, code)):
        text = f"{text[:start]}[{kind.upper()}]{text[end:]}"
    return text


def _places(text: str, code: bool) -> list[Place]:
    """Apart from each other, in their order. What was found first stays."""
    found: list[Place] = []
    for kind, start, end in (place for places in _possible(text) for place in places):
        at = bisect_left(found, start, key=lambda place: place[1])
        taken = (at and found[at - 1][2] > start) or (at < len(found) and found[at][1] < end)
        coded = kind == "phone" and _CODE_BEFORE.search(text[max(0, start - _SHORT_CODE) : start])
        if not taken and not coded and not _nobodys(kind, text[start:end], code):
            found.insert(at, (kind, start, end))
    return found


def _possible(text: str) -> Iterator[Iterator[Place]]:
    def all_of(kind: str, pattern: re.Pattern[str]) -> Iterator[Place]:
        return ((kind, *match.span()) for match in pattern.finditer(text))

    number = _NUMBER.search(text)
    if number or any(sign in text for sign in _KEY_SIGNS):
        yield all_of("key", _KINDS["key"])
    if _NAMES_A_PASSWORD.search(text):
        yield (("password", *match.span("secret")) for match in _PASSWORD.finditer(text))
    if "@" in text or "＠" in text:
        yield all_of("mail", _KINDS["mail"])
    if "dot" in text or "DOT" in text:
        yield all_of("mail", _SPELLED_MAIL)
    if national.possible(text):
        yield national.places(text)
    if number:
        yield from (all_of(kind, _KINDS[kind]) for kind in ("account", "card", "phone"))
    if _HOUSE.search(text):
        yield all_of("address", _KINDS["address"])


def _nobodys(kind: str, text: str, code: bool) -> bool:
    digits = re.sub(r"\D", "", text)
    if kind == "mail" and text.startswith("git@"):
        return True
    if kind == "mail":
        return bool(_ROLES.search(text) or _RESERVED_MAIL.search(text)) or (code and bool(_NOBODYS_MAIL.search(text)))
    if kind == "phone":
        text = f"+{text[2:]}" if re.match("00[1-9]", text) else text
        if (
            not 9 <= len(digits) <= 15
            or len(set(digits)) < 3
            or (text[0] == "0" and not 10 <= len(digits) <= (12 if text[1] == "1" else 11))
        ):
            return True
        return bool(_PUBLIC_PHONE.search(text) or _NOBODYS_PHONE.search(text))
    if kind == "card":
        spaced = len(digits) != len(text)
        return (
            not ((digits[0] in "23456" and national.luhn(digits)) or (spaced and digits[0] in "3456"))
            or len(set(digits)) < 3
            or (code and not spaced)
        )
    if kind == "account" and text[0].isalpha():
        return not _iban(re.sub(r"\s", "", text))
    if kind == "key":
        return code and len(set(text)) < 12
    if kind == "password" and _NOBODYS_PASSWORD.match(text):
        return True
    return code and kind in ("identity", "address", "password")


def _iban(text: str) -> bool:
    if not 15 <= len(text) <= 34:
        return False
    number = "".join(str(int(character, 36)) for character in text[4:] + text[:4])
    return int(number) % 97 == 1
