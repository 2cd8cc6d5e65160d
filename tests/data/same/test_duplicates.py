"""The same row twice, nearly the same row twice, and rows that only look alike."""

from __future__ import annotations

import random

import numpy as np
import pytest

from kitae.chat import Conversation
from kitae.data.same import Parts, Twin, bands, likeness, looks_like_code, twins, untidiness, whole


def row(asked: str, answer: str, number: int = 0) -> Conversation:
    return Conversation.of([{"role": "user", "content": asked}, {"role": "assistant", "content": answer}], f"rows:{number}")


def found(rows: list[Conversation], least: float = 0.85) -> list[Twin]:
    parts = [Parts.of(one) for one in rows]
    wholes = np.array([whole(one) for one in rows], dtype=np.uint64)
    keys = bands(parts)
    untidy = np.array([untidiness(one) for one in rows], dtype=np.int32)
    return list(twins(wholes, keys, untidy, np.ones(len(rows), dtype=np.bool_), parts.__getitem__, least))


LONG = (
    "Photosynthesis turns light, water and carbon dioxide into sugar and oxygen. It happens in the chloroplasts of plants, "
    "where chlorophyll catches light, and the sugar is stored for later use by the whole plant."
)
TWINS = [
    (("What is photosynthesis?", LONG), ("What is photosynthesis?", LONG)),
    (("What is photosynthesis?", LONG), ("what is  PHOTOSYNTHESIS? ", LONG.upper())),
    (("What is photosynthesis?", LONG), ("What is photosynthesis. Please.", LONG)),
    (("What is photosynthesis?", LONG), ("What is photosynthesis", LONG.replace("turns", "converts"))),
    (("What is photosynthesis?", LONG), ("Explain what photosynthesis is", LONG)),
    (("Which country was once Abyssinia?", "Ethiopia"), ("Which country was once Abyssinia", "ETHIOPIA \n")),
    (
        ("東京について教えてください", "東京は日本の首都で、人口は約1400万人です。"),
        ("東京について教えて下さい。", "東京は日本の首都で、人口は約1400万人です"),
    ),
    (
        ("ＡＢＣとは何ですか", "英語の最初の三文字です。とても有名です。"),
        ("ABCとは何ですか", "英語の最初の三文字です。とても有名です。"),
    ),
]
STRANGERS = [
    (("What is the capital of France?", "Paris"), ("What is the capital of Spain?", "Madrid")),
    (("Is a dog a mammal?", "Yes"), ("Is a cat a mammal?", "Yes")),
    (("What is 3 + 4?", "7"), ("What is 3 + 5?", "8")),
    (("What is 3 + 4?", "7"), ("What is 3 - 4?", "-1")),
    (("Who won in 1998?", "France won the cup."), ("Who won in 2018?", "France won the cup.")),
    (("Write a haiku about rain", "Soft rain on the roof"), ("Write a haiku about rain", "Grey clouds open wide")),
    (
        (f"{LONG}\nWhere does it happen?", "In the chloroplasts of plants"),
        (f"{LONG}\nWhat catches the light?", "Chlorophyll, in the same place"),
    ),
    ((f"{LONG}\nIs sugar made?", "Yes"), (f"{LONG}\nIs oxygen made?", "Yes")),
    (("日本の首都は?", "東京です"), ("韓国の首都は?", "ソウルです")),
    (("What is -3 * 2?", "It is what it is"), ("What is 3 * 2?", "It is what it is")),
    (("Am I happy?", "😀"), ("Am I happy?", "😢")),
    (("What is C#?", "A language"), ("What is C?", "A language")),
    (("Subtract the second of 7 and 3", "It is done"), ("Subtract the second of 3 and 7", "It is done")),
    (("Translate: the dog bites the man", "Le chien mord"), ("Translate: the man bites the dog", "Le chien mord")),
    (
        ("Is it safe to give my dog carrots to eat?", f"{LONG} So carrots are fine for dogs."),
        ("Is it safe to give my dog chocolate to eat?", f"{LONG} So chocolate is fine for dogs."),
    ),
    (("Write a loop", "for i in a:\n    f(i)\n    g();"), ("Write a loop", "for i in a:\n    f(i)\ng();")),
    (("Swap them", "x = y;\ny = z;\nprint(x)"), ("Swap them", "y = x;\nz = y;\nprint(x)")),
    (
        ("Write a loop in Python", "for i in range(10):\n    print(i)\n    total = total + i\n    done(i);"),
        ("Write a loop in Python", "for i in range(10):\n    print(i)\n    total = total - i\n    done(i);"),
    ),
]


@pytest.mark.parametrize(("a", "b"), TWINS)
def test_twins(a: tuple[str, str], b: tuple[str, str]) -> None:
    assert len(found([row(*a), row(*b)])) == 1
    assert len(found([row(*b), row(*a)])) == 1


@pytest.mark.parametrize(("a", "b"), STRANGERS)
def test_strangers(a: tuple[str, str], b: tuple[str, str]) -> None:
    assert found([row(*a), row(*b)]) == []
    assert likeness(Parts.of(row(*a)), Parts.of(row(*b)), 0.85) == 0.0


def test_programs_that_differ_in_a_sign_are_two_also_with_the_line_ends_of_windows() -> None:
    code = "def even(text): \r\n  if len(text) {} 0: \r\n    return True \r\n  return False"
    twice = [row(f"Write a function to find whether the given string has an {kind} length.", code.format(sign), i)
             for i, (kind, sign) in enumerate((("even", "% 2 =="), ("odd", "% 2 !=")))]  # fmt: skip
    assert not found(twice)
    assert looks_like_code("a = b;\r\nb = c;\r\nc = a;")


def test_the_tidier_one_stays_wherever_it_stands() -> None:
    tidy, untidy = row("What is it?", LONG), row("What is it?", LONG.replace("light", "LIGHT") + "  \n")
    assert [(twin.row, twin.stays) for twin in found([untidy, tidy])] == [(0, 1)]
    assert [(twin.row, twin.stays) for twin in found([tidy, untidy])] == [(1, 0)]


def test_of_the_same_the_first_stays() -> None:
    assert [(twin.row, twin.stays) for twin in found([row("a b c", LONG)] * 4)] == [(1, 0), (2, 0), (3, 0)]


def test_no_chain_joins_what_is_not_alike() -> None:
    """Each row differs by a few words from the one before; the last has nothing in common with the first."""
    rng = random.Random(1)
    words = [f"word{i}x" for i in range(60)]
    rows = []
    for number in range(40):
        rows.append(row("Tell me", " ".join(words), number))
        for _ in range(3):
            words[rng.randrange(60)] = f"new{rng.randrange(10**6)}y"
    joined = found(rows)
    kept = set(range(len(rows))) - {twin.row for twin in joined}
    assert len(kept) >= 4
    parts = [Parts.of(one) for one in rows]
    assert all(likeness(parts[twin.row], parts[twin.stays], 0.85) >= 0.85 for twin in joined if not twin.exact)
    assert all(twin.stays in kept for twin in joined)


def test_bands_miss_none_that_a_comparison_of_all_pairs_finds() -> None:
    rng = random.Random(2)
    pool = [f"w{i}" for i in range(3000)]
    rows = []
    for number in range(150):
        words = [rng.choice(pool) for _ in range(rng.choice((12, 30, 120)))]
        rows.append(row("Say this", " ".join(words), number))
        changed = list(words)
        for _ in range(max(1, len(words) // 20)):
            changed[rng.randrange(len(words))] = rng.choice(pool)
        rows.append(row("Say this", " ".join(changed), number))
    parts = [Parts.of(one) for one in rows]
    pairs = sum(likeness(parts[i], parts[j], 0.85) > 0 for i in range(len(rows)) for j in range(i))
    assert pairs >= 140
    assert len(found(rows)) >= 0.98 * pairs


def test_many_rows_of_one_template_are_not_compared_with_all() -> None:
    rows = [row(f"What is {i} times {i + 1}?", f"{i} times {i + 1} is {i * (i + 1)}.", i) for i in range(3000)]
    assert found(rows) == []


def test_a_row_has_the_same_bands_alone_and_among_others() -> None:
    rows = [
        Parts([], []),
        Parts(["a"], []),
        Parts(["why", "so"], ["c", "a", "b", "d"]),
        Parts(["x"], ["long", "words", "here"]),
    ]
    rows += [Parts([f"word{i}" for i in range(n)], [f"said{i}" for i in range(n * 400)]) for n in range(20)]
    np.testing.assert_array_equal(bands(rows), np.concatenate([bands([row]) for row in rows]))
    assert bands([]).shape == (0, 20)
