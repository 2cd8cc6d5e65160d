"""Whether a text that was cut into tokens comes back: every character of Unicode, and strings that are known to be hard."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from kitae.chat import Vocabulary

_AT_ONCE = 4096
_RANDOM = 500
_ENOUGH = 5  # examples
_HARD = (
    *(" ", "  ", " a", "a ", "  a  ", "\n", "\n\n\n", " \n \n", "\t\t", "\r\n", "\r", "a\u00a0b", "\u3000全角　空白\u3000"),
    *("\0", "a\0b", "\x1f", "\x7f", "\ufeffBOM", "\u200b", "\u2028\u2029", "\u202eright to left\u202c", "\ufffd"),
    *("e\u0301 é", "か\u3099 が", "ｶﾞ ガ", "Å Å Å", "ﬁ fi", "ß SS ẞ", "İ i̇ ı", "각 각", "ก็ ที่", "क्षि"),
    *("👩‍👩‍👧‍👦", "👍🏽", "🇯🇵", "❤️", "1️⃣", "\U000e0001", "𠮷野家", "葛󠄀城", "①㍿㌔", "〜～ー－"),
    *("▁a ▁", "##a ##", "＃＃a", "Ġthe Ċ", "<0xE3><0x81>", "<s></s>", "<unk> [UNK]", "</w>", "@@ a@@"),
    *("<|im_start|>user\nhi<|im_end|>\n", "<|endoftext|>", "<|pad|><pad>", "<|im_", "end|>"),
    *("don't WE'LL I'm they've 'Tis", "10:45 2024-05-17 3.14 １２３ ½ ⅷ", "x = {'a': [1, 22, 333]};  // ok", "a" * 300),
    *("日本語のテキスト、漢字とかな。", "吾輩は猫である。名前はまだ無い。" * 20, "　　", "！？」』", "naïve café Ångström"),
    *("C:\\Users\\name\\file.txt", "http://e.x/?q=1&r=%20#a", "    if x:\n        return y\n", " ." * 20, " ?! n't 's"),
)


@dataclass(frozen=True)
class RoundTrip:
    characters: int
    strings: int
    lost: list[tuple[str, str]] = field(default_factory=list)  # (the shortest text that failed, what came back)

    @property
    def exact(self) -> bool:
        return not self.lost


def round_trip(vocabulary: Vocabulary) -> RoundTrip:
    """Stops as soon as there are examples enough of what is lost."""
    lost: dict[str, str] = {}
    characters = sum(_tried(vocabulary, all_characters(), lost))
    strings = len(_tried(vocabulary, hard_strings(), lost))
    return RoundTrip(characters, strings, list(lost.items()))


def _tried(vocabulary: Vocabulary, texts: Iterable[str], lost: dict[str, str]) -> list[int]:
    """The lengths of the texts that were tried; what is lost is added as its shortest part, and what that became."""
    lengths = []
    for text in texts:
        if len(lost) == _ENOUGH:
            break
        lengths.append(len(text))
        if _back(vocabulary, text) != text:
            short = _shortest(vocabulary, text)
            lost[short] = _back(vocabulary, short)
    return lengths


def _back(vocabulary: Vocabulary, text: str) -> str:
    return vocabulary.decode(vocabulary.encode(text, parse_control=False))


def _shortest(vocabulary: Vocabulary, text: str) -> str:
    """Takes ever smaller pieces off both ends for as long as what is left is still lost."""
    step = len(text) // 2
    while step:
        rest = next((rest for rest in (text[:-step], text[step:]) if _back(vocabulary, rest) != rest), None)
        text = text if rest is None else rest
        step = step // 2 if rest is None else min(step, len(text) - 1)
    return text


def all_characters() -> Iterator[str]:
    codes = [*range(0xD800), *range(0xE000, 0x110000)]  # what is between are halves of pairs, and no characters
    for start in range(0, len(codes), _AT_ONCE):
        yield "".join(map(chr, codes[start : start + _AT_ONCE]))


def hard_strings() -> Iterator[str]:
    """Strings that some tokenizer has lost something of, and mixtures drawn from all corners of Unicode, always the same."""
    yield from _HARD
    draw = random.Random(0)
    pools = [
        [chr(code) for code in range(0x20, 0x7F)],
        [*" \n\t\r\u3000"],
        [chr(code) for code in (*range(0x3040, 0x3100), *range(0x4E00, 0x5000))],
        [chr(code) for code in range(0x300, 0x370)],
        [chr(code) for code in range(0x1F300, 0x1F650)] + ["\u200d", "\ufe0f"],
        [chr(code) for code in range(0xD800)],
        [chr(code) for code in range(0xE000, 0x110000, 97)],
    ]
    for _ in range(_RANDOM):
        yield "".join(draw.choice(draw.choice(pools)) for _ in range(draw.randint(1, 200)))
