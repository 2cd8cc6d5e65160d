"""Strings on which tokenizers are known to part ways: numbers, white space, scripts, emoji, code, control-like text."""

from __future__ import annotations

import random

from kitae.chat import Conversation, Message

FIXED = (
    "Hello, world!",
    " leading and trailing ",
    "tabs\tand\n\nnewlines\r\n\r\n   indented",
    "1234567890 3.14159 1,000,000 2024-05-17T10:45:00Z",
    "don't can't we're I'LL you'd",
    "日本語のテキスト。漢字、ひらがな、カタカナ、全角１２３",
    "中文文本，简体与繁體。",
    "한국어 문장입니다.",
    "Привет, как дела?",
    "العربية من اليمين",
    "naïve café Ångström e\u0301 \u00a0 nbsp",
    "😀 👩‍👩‍👧 🇯🇵 ✊🏽",
    "def f(x):\n    return {'a': [x**2 for _ in range(10)]}  # コメント",
    "https://example.org/?q=a+b&c=%20#x",
    "<b>bold</b> <|not_a_token|> [INST] ### Response:",
    "½ ⅷ ² ½ ﬁ Ａ",
    "a" * 200,
    " " * 40 + "x",
    "\u200bzero\u200dwidth\ufeff",
    "C:\\path\\to\\file.txt \"quoted\" 'single' `code`",
    "e=mc^2; ∑x_i ≤ ∞ → ∀",
    "",
)
_ALPHABETS = (
    "abcdefghijklmnopqrstuvwxyz     ",
    "ABC abc 0123456789 .,;:!?-_/()[]{}'\"",
    "あいうえおアイウエオ日本語漢字。、「」ー ",
    "àéîõüßñçøåæœ 0123456789\n\t ",
    "😀🎉👍🏽🇯🇵\u200d abc 12 ",
    "{}[]()<>|&^%$#@!~`+=\\/*\n    ;:'\",.?0123456789abc",
)


def probe_texts(count: int = 200, seed: int = 0) -> list[str]:
    """The fixed strings and random ones; the same for everybody."""
    rng = random.Random(seed)
    texts = list(FIXED)
    while len(texts) < count:
        alphabet = rng.choice(_ALPHABETS)
        texts.append("".join(rng.choice(alphabet) for _ in range(rng.randint(1, 60))))
    return texts


_QUESTIONS = (
    ("What is the capital of France?", "The capital of France is Paris."),
    ("Name three colours.", "Red, green and blue."),
    ("日本の首都はどこですか。", "日本の首都は東京です。"),
    ("What is 12 + 30?", "12 + 30 = 42."),
    ("Say hello.", "Hello! How can I help you today?"),
    ("Give a synonym for quick.", "Fast."),
    ("Is water wet? Answer yes or no.", "Yes."),
    ("Write one sentence about the sea.", "The sea was calm, and the moon drew a silver path across it."),
    ("Write a haiku about rain.", "Soft rain on the roof,\na thousand small voices speak\nuntil morning comes."),
    ("Turn into JSON: Ana, 31, Lisbon.", '{"name": "Ana", "age": 31, "city": "Lisbon"}'),
    ("How many days has a week?", "A week has seven days: Monday to Sunday."),
    ("Translate to French: good night.", "Bonne nuit."),
)


def probe_chats() -> list[list[dict[str, str]]]:
    """Short questions on which any chat model can be asked whether it stops."""
    return [[{"role": "user", "content": question}] for question, _ in _QUESTIONS]


def probe_answers() -> list[Conversation]:
    """The same with answers, whose distributions two forms of any chat model can be compared on."""
    return [
        Conversation((Message("user", question), Message("assistant", answer)), f"probe {i}")
        for i, (question, answer) in enumerate(_QUESTIONS, 1)
    ]


def probe_turns() -> list[list[Message]]:
    """One conversation of each kind that templates treat in a way of its own."""
    system = Message("system", "Answer in one word.")
    turns = [message for row in probe_answers()[:2] for message in row.messages]
    last = Message("user", "And 2 + 2?")
    return [[last], [system, last], [*turns, last], [system, *turns, last]]
