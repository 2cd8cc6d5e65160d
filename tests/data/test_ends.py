"""Ends of answers that only the words of the set can tell."""

from __future__ import annotations

from kitae.chat import Conversation
from kitae.data.clean.survey import Rules, judged

WORDS = [
    "anarchism",
    "photograph",
    "mountain",
    "gardener",
    "railway",
    "umbrella",
    "chocolate",
    "elephant",
    "hospital",
    "orchestra",
]


def rows(*ends: str) -> list[Conversation]:
    """A set in which sentences end properly, and `because` and `during` never stand at an end."""
    texts = [
        f"The {a} was there because of the {b}, and during the {c} it stayed. We saw it near the {a}."
        for i, a in enumerate(WORDS)
        for b, c in (
            (WORDS[i - 1], WORDS[i - 2]),
            (WORDS[i - 3], WORDS[i - 4]),
            (WORDS[i - 5], WORDS[i - 6]),
            (WORDS[i - 7], a),
        )
    ]
    return [
        Conversation.of(
            [{"role": "user", "content": f"Tell me story number {i}"}, {"role": "assistant", "content": text}], f"r:{i}"
        )
        for i, text in enumerate([*texts, *ends])
    ]


def kinds(*ends: str) -> list[str]:
    found = judged(made := rows(*ends), Rules())
    assert not any(finding.gate == "data.truncated" for findings in found[: len(made) - len(ends)] for finding in findings)
    return [next((f.kind for f in findings if f.gate == "data.truncated"), "") for findings in found[len(made) - len(ends) :]]


def test_within_a_word() -> None:
    assert kinds("It was the best known kind of photogr", "We went up to the moun") == ["within-word", "within-word"]


def test_after_a_word_that_never_ends_a_sentence() -> None:
    assert kinds("We all stayed in the old house during") == ["hanging"]


def test_within_a_sentence() -> None:
    assert kinds("We saw the railway. Then it was there") == ["within-sentence"]


def test_a_name_out_of_a_text_without_spaces_is_a_whole_answer() -> None:
    asked = "1939年、フランス軍とドイツ軍が戦った。宣戦した国は?"
    made = [Conversation.of([{"role": "user", "content": asked}, {"role": "assistant", "content": said}], said)
            for said in ("フランス", "宣戦した国が二つあります。答えはフランス")]  # fmt: skip
    found = [{finding.gate for finding in findings} for findings in judged(made, Rules())]
    assert "data.truncated" not in found[0] | found[1]


def test_ends_that_are_ends() -> None:
    assert kinds("It was the best known form of anarchism", "A mountain", "Jaén", "We saw the old railway") == ["", "", "", ""]


def test_few_rows_do_not_know_many_words() -> None:
    """Beside "carbon" and "careful", a car looks like a beginning."""
    made = rows("Be careful with carbon. Be careful and carry it.", "Careful: carbon is carbon.", "Buy an electric car")[-16:]
    assert not any(finding.gate == "data.truncated" for found in judged(made, Rules()) for finding in found)
