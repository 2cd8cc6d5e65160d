"""`data.language`: an answer in another language than its question, when nobody asked for that.

The script decides, and among those who write Latin letters the small words that every sentence needs.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import lru_cache

from kitae.data.clean.rules.finding import Exchange, RowView, excerpt
from kitae.data.read.finding import Finding

GATE = "data.language"
_SMALL_WORDS: dict[str, str] = {
    "en": "the of and to is are was that for with this it you your from they have can be as on by not which their an a "
    "in i do does did what how who why when where my me will would should about list name give tell has had or "
    "at if we he she its than some",
    "de": "der die das und ist nicht ein eine zu den von mit sich auf für dem werden wird sind oder auch als bei einen "
    "wie dass kann durch nach zum zur wenn nur sehr diese dieser einer aus ich du wir ihr sie im am vom beim "
    "noch schon dann man kein keine mein mir ihre etwas mehr ihn hier immer",
    "fr": "le les des et est une dans que qui pour pas sur avec sont au du ce cette vous nous il elle par plus ou être "
    "ont leurs leur aux puis mais ses tout comme très même ces entre hui je tu ne où sans sous chez alors aussi "
    "deux peut fait faut elles",
    "es": "el los las y es una que por con para del se su no como más pero sus este esta son al lo muy puede ser "
    "también la le si hay entre desde sobre tiene hasta donde en cada día días después unas unos cómo qué está "
    "están cuando porque otra otro todos todas así puedes debe hace años mejor algo bien nada les",
    "it": "il di che è e la per una non sono con del della gli nel alla dei si come anche più le questo essere può ha "
    "nella dalle dal delle degli nelle alle sul sulla perché fuori fa molto ed ogni quasi ma quando dove così "
    "stato era hanno deve tre due quella quello d",
    "pt": "o os as e é uma que de do da para com não em por mais como dos das seu sua um ao são também pode ser você "
    "está muito lá fora porque foi tem quando onde isso ele ela sem até já num numa fica",
    "nl": "de het een en van is dat niet te zijn op met voor die er aan ook door om maar bij als worden kan naar uit",
    "pl": "i w nie na się z jest że do to jak o co przez są może być dla po od lub oraz które który jego",
    "sv": "och att det som är en på av för med den inte till ett har de om kan från eller vid så också",
    "tr": "ve bir bu için ile da de olarak çok daha olan en gibi kadar sonra ancak veya değil ise her çünkü ki mi ben "
    "sen onun önce hem gün oldu",
    "id": "yang dan di untuk dengan adalah ini dari pada dalam tidak dapat itu akan sebagai atau oleh juga karena ke",
    "vi": "và là của có được cho không các một những người với trong này khi để từ đã thể nhiều trên vì rất ngoài trời "
    "con ở đến nhưng cũng nó như hay",
    "ro": "și în de la cu este nu pe care sunt pentru din mai o un sau ca fi să prin",
}
# Letters that of these languages one alone has.
_LETTERS = {"es": "ñ¿¡", "de": "ß", "pt": "ãõ", "pl": "łżśćę", "tr": "ğı", "vi": "ơưđạếệộớờạảấầẩậ", "ro": "țșţ", "sv": "å"}
_OWNERS: dict[str, tuple[str, ...]] = {}
for _language, _words in _SMALL_WORDS.items():
    for _word in _words.split():
        if len(_word) == 1 and _word.isascii() and _language != "en":  # in formulas every letter is a word
            continue
        _OWNERS[_word] = (*_OWNERS.get(_word, ()), _language)
_SCRIPTS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("kana", re.compile("[぀-ヿ]")),
    ("han", re.compile("[㐀-鿿]")),
    ("ko", re.compile("[가-힣]")),
    ("ru", re.compile("[Ѐ-ӿ]")),
    ("el", re.compile("[Ͱ-Ͽ]")),
    ("ar", re.compile("[؀-ۿ]")),
    ("he", re.compile("[֐-׿]")),
    ("th", re.compile("[฀-๿]")),
    ("hi", re.compile("[ऀ-ॿ]")),
)
_ENGLISH_ASKS = re.compile(r"\s*(?:how|what|why|who|when|where|which|explain|tell|give|write)\b", re.IGNORECASE)
# How short questions begin whose few words are in no list.
_ASKS = {
    "en": _ENGLISH_ASKS,
    "de": re.compile(
        r"\s*(?:was (?:ist|sind|macht)|wie|warum|wer|wo|wann|welche[rsn]?|erkläre?|nenne?|schreibe?)\b", re.IGNORECASE
    ),
    "fr": re.compile(
        r"\s*(?:qu['’]|pourquoi|quel(?:le)?s?\b|expliqu\w+|écri\w+|où|combien|comment (?:\w+-|faire))", re.IGNORECASE
    ),
    "es": re.compile(r"\s*(?:¿|qué\b|cómo\b|por qué\b|cuál|explica\b|escribe\b|cuánt)", re.IGNORECASE),
    "it": re.compile(
        r"\s*(?:(?:che )?cos['’](?:è|e)\b|cosa\b|perché\b|spiega\b|scrivi\b|quali?\b|quant[oaie]\b)", re.IGNORECASE
    ),
    "pt": re.compile(r"\s*(?:o que\b|quais\b|explique\b|escreva\b|quant[oa]s?\b)", re.IGNORECASE),
}
_CHINESE = re.compile("[的是了我们這这為为說说對对還还嗎吗沒没你您它她很也與与，]")  # which no Japanese name or title has
_LATIN = re.compile(r"[^\W\d_]+")
_ADDRESS = re.compile(r"[\w/:-]*(?:@|\w\.(?=[a-z]{2}))[\w@./-]+")  # the com of example.com is no word
_ASCII = re.compile("[a-z]+")  # of such a text the same, in half the time
_LEAST_LETTERS = 16
_SOME_LATIN = "Latin letters"
_SAMPLE = 500  # characters that are enough to tell
_ASKED_FOR = re.compile(
    r"\b(?:translat\w*|translit\w*|language|languages|english|japanese|german|french|spanish|italian|portuguese|dutch|russian|chinese|"
    r"mandarin|cantonese|korean|arabic|hebrew|hindi|thai|greek|latin|swedish|polish|turkish|vietnamese|indonesian|romanian|"
    r"swahili|bilingual|romaji|kanji|hiragana|haiku|lyrics|"
    r"quote|recite|farsi|persian|cyrillic|englisch\w*|japanisch\w*|französisch\w*|deutsch\w*|spanisch\w*|anglais|japonais|allemand|"
    r"espagnol|français|inglés|francés|alemán|japonés|español|"
    r"traduci\w*|tradui\w*|traduz\w*|übersetz\w*|auf englisch|en anglais|en inglés)\b"
    r"|翻訳|英訳|和訳|訳し|訳せ|英語|日本語|中国語|韓国語|フランス語|ドイツ語|スペイン語|英文|和文|ローマ字|漢字|다음을|번역|翻译|英文",
    re.IGNORECASE,
)


def language_of(text: str) -> str | None:
    """A code, or None where too little is said to tell."""
    return _language_of(text[:_SAMPLE])


@lru_cache(maxsize=256)
def _language_of(sample: str) -> str | None:
    if not sample.isascii():
        letters = sum(map(str.isalpha, sample))
        if not letters:
            return None
        counts = {name: len(pattern.findall(sample)) for name, pattern in _SCRIPTS}
        if counts["kana"] * 10 >= letters and counts["kana"] >= 2:
            return "ja"
        if counts["han"] * 3 >= letters and counts["han"] * 2 >= _plain_letters(sample):
            name_alone = letters < 12 or (letters < 30 and not _CHINESE.search(sample))
            return "han" if name_alone or counts["kana"] else "zh"
        name = max(counts, key=lambda name: counts[name])
        if name not in ("kana", "han") and counts[name] * 2 >= letters:
            return name
    return _latin(sample)


def _plain_letters(text: str) -> int:
    return sum(map(str.isascii, filter(str.isalpha, text)))


def _latin(text: str) -> str | None:
    if "@" in text or "." in text:
        text = _ADDRESS.sub(" ", text)
    words = (_ASCII if text.isascii() else _LATIN).findall(text.casefold())
    votes: defaultdict[str, float] = defaultdict(float)
    different: Counter[str] = Counter()
    for word, count in Counter(filter(_OWNERS.__contains__, words)).items():
        owners = _OWNERS[word]
        for language in owners:
            votes[language] += count / len(owners)
            different[language] += 1
    if not text.isascii():
        letters = {letter for word in _LATIN.findall(text) if word[0].islower() for letter in word} | (set(text) & set("¿¡"))
        for language, own in _LETTERS.items():
            found = len(letters & set(own))
            votes[language] += found
            different[language] += found
    for language in [language for language in votes if different[language] < 2]:
        del votes[language]
    best = sorted(votes.items(), key=lambda vote: -vote[1])[:2]
    if not best or best[0][1] < 2 or best[0][1] < 0.06 * len(words):
        return None
    return best[0][0] if len(best) == 1 or best[0][1] >= 1.6 * best[1][1] else None


def find(view: RowView, wanted: Sequence[str] = ()) -> Iterator[Finding]:
    """`wanted`: languages that a set is meant to be in; without any, the one that was asked in."""
    if wanted and view.is_text:
        spoken = language_of(view.row.messages[0].content)
        if spoken is not None and spoken not in wanted:
            yield Finding(GATE, "unwanted", f"{spoken}: {excerpt(view.row.messages[0].content, 0, 40)}")
    for exchange in view.exchanges:
        if finding := _finding(exchange, wanted):
            yield finding


def _finding(exchange: Exchange, wanted: Sequence[str]) -> Finding | None:
    answer = exchange.answer
    if _is_latin(answer) and sum(map(str.isalpha, answer[:200])) < _LEAST_LETTERS:
        return None
    spoken = language_of(answer)
    if spoken is None or spoken == "han":
        return None
    if wanted:
        return Finding(GATE, "unwanted", f"{spoken}: {excerpt(answer, 0, 40)}") if spoken not in wanted else None
    asked = language_of(exchange.asked) or _by_script(exchange.asked)
    if asked in (None, "han", spoken) or (asked == _SOME_LATIN and spoken in _SMALL_WORDS):
        return None
    if _ASKED_FOR.search(exchange.asked) or _also_in(exchange.asked, spoken, asked):
        return None
    if exchange.is_about_code and (asked, spoken) != ("en", "ja"):
        return None
    return Finding(GATE, "other", f"{asked} → {spoken}: {excerpt(answer, 0, 40)}", habit=f"{asked} → {spoken}")


def _is_latin(text: str) -> bool:
    return text[:200].isascii() or not any(pattern.search(text[:200]) for _, pattern in _SCRIPTS)


def _by_script(text: str) -> str | None:
    """A short question in Latin letters may be in many languages, but not in Japanese; and few begin as English ones do.
    A name alone is in none."""
    begun = [language for language, asks in _ASKS.items() if asks.match(text)]
    if len(begun) == 1 and ("?" in text or len(text.split()) > 2):  # fewer words may be a name
        return begun[0]
    if "?" not in text and len(_LATIN.findall(text)) == 1:
        return None
    letters = [letter for letter in text[:_SAMPLE] if letter.isalpha()]
    return _SOME_LATIN if letters and sum(letter < "ɐ" for letter in letters) * 2 > len(letters) else None


def _also_in(text: str, language: str, asked: str | None) -> bool:
    """Whether part of a question is in that language. Japanese is written with Chinese characters too."""
    for name, pattern in _SCRIPTS:
        if name == language or (
            language in ("ja", "zh") and name in ("kana", "han") and not (language == "zh" and asked == "ja")
        ):
            return bool(pattern.search(text))
    return any(language_of(line) == language for line in text.split("\n") if len(line) > 20)
