"""Rows are split once, the same way every time, and proven apart."""

from __future__ import annotations

import random

import pytest

from kitae.chat import Conversation
from kitae.core.row_options import NEAR
from kitae.data import overlap
from kitae.data.rows import hold_back
from kitae.data.same import Parts, likeness, without_duplicates


def talk(prompt: str, answer: str = "ok", source: str = "", system: str | None = None) -> Conversation:
    first = [{"role": "system", "content": system}] if system else []
    messages = [*first, {"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    return Conversation.of(messages, source)


ROWS = [talk(f"question {i}", f"answer {j}", f"f:{i}.{j}") for i in range(100) for j in range(1 + i % 3)]


@pytest.mark.parametrize("seed", range(4))
def test_the_order_of_rows_does_not_matter(seed: int) -> None:
    train, held = hold_back(ROWS, 0.2, seed)
    shuffled = list(ROWS)
    random.Random(seed).shuffle(shuffled)
    again_train, again_held = hold_back(shuffled, 0.2, seed)
    assert set(train) == set(again_train)
    assert set(held) == set(again_held)


def test_nothing_is_lost_or_shared() -> None:
    train, held = hold_back(ROWS, 0.2, 0)
    assert sorted([*train, *held], key=str) == sorted(ROWS, key=str)
    assert not set(train) & set(held)
    assert abs(len(held) / len(ROWS) - 0.2) < 0.03


def test_rows_with_the_same_prompt_stay_together() -> None:
    rows = [talk("Hi" if i % 2 else "hI", f"{i}") for i in range(30)] + ROWS
    for seed in range(20):
        train, held = hold_back(rows, 0.3, seed)
        prompts = [{row.prompt[0].content.casefold() for row in part} for part in (train, held)]
        assert not prompts[0] & prompts[1]


def test_seeds_differ() -> None:
    assert set(hold_back(ROWS, 0.2, 0)[1]) != set(hold_back(ROWS, 0.2, 1)[1])


def test_one_prompt_alone_is_trained_on() -> None:
    rows = [talk("same", f"{i}") for i in range(10)]
    assert hold_back(rows, 0.2, 0) == (rows, [])


def test_duplicates_go() -> None:
    rows = [talk("Hello  there", "Yes"), talk("hello there ", "yes", system="be brief"), talk("hello there", "no")]
    assert without_duplicates(rows) == [rows[0], rows[2]]


def test_overlap_finds_exact_copies() -> None:
    training = [talk("Where is  the KEY?", "Under the mat.", "a:1"), talk("other", "thing", "a:2")]
    held = [talk("where is the key?", "under the\nmat.", "b:1", system="s"), talk("new one", "entirely", "b:2")]
    found = overlap(held, training)
    assert found.exact == [("b:1", "a:1")]
    assert found.near == []


def test_overlap_finds_near_copies() -> None:
    text = "the quick brown fox jumps over the lazy dog and runs far away into the dark green forest " * 2
    training = [talk(text, "a long enough answer to this", "a:1"), talk("something else", "b", "a:2")]
    changed = talk(text.replace("dark", "dork", 1), "a long enough answer to this", "b:1")
    different = talk("a letter about the weather in the mountains, and nothing of foxes", "fine", "b:2")
    found = overlap([changed, different], training)
    assert found.exact == []
    ((held, twin, similarity),) = found.near
    assert (held, twin) == ("b:1", "a:1")
    assert NEAR <= similarity < 1.0


def test_overlap_of_nothing() -> None:
    assert overlap([], ROWS).exact == overlap(ROWS, []).near == []
    assert overlap([talk("", "")], [talk("a", "b")]).near == []


def test_what_cleaning_would_call_the_same_is_a_leak_and_so_is_what_differs_in_a_number() -> None:
    story = "The lamp by the river is lit at seven, and nobody in the village knows who lights it, or why it burns until dawn"
    ends = (".", ", they all say.", " indeed")
    first, *alike = [talk("Who lights it?", f"{story}{end}", f"a:{i}") for i, end in enumerate(ends)]
    for row in alike:
        assert likeness(Parts.of(first), Parts.of(row), NEAR) >= NEAR
        assert [pair[:2] for pair in overlap([row], [first]).near] == [(row.source, "a:0")]
    seven, eight = (talk(f"Lamp {number}?", f"{story}. {story}", f"c:{number}") for number in (7, 8))
    assert not likeness(Parts.of(seven), Parts.of(eight), NEAR) and overlap([seven], [eight]).near
    assert not overlap([talk("Lamp 7?", "It is red", "d:0")], [talk("Lamp 8?", "It is red", "d:1")]).near


DOCUMENT = (
    "Of the old lighthouse that stood at the end of the harbour wall until the storm of that year, and of its keeper, " * 2
)


@pytest.mark.parametrize("seed", range(5))
def test_a_fraction_keeps_together_what_a_split_keeps_together(seed: int) -> None:
    """Rows about one document, and rows that are nearly the same, are in one part."""
    about = [talk(f"{DOCUMENT} number {i // 4}\nWhat of {'abcd'[i % 4] * 9}?", f"it {i}", f"d:{i}") for i in range(80)]
    answer = "They are {} and sail for the far north by night, as they have done since the harbour was built"
    begins = ("Please", "Kindly and please")
    near = [talk(f"{begins[i % 2]} tell me of the {i // 2} ships", answer.format(i // 2), f"n:{i}") for i in range(40)]
    train, held = hold_back([*about, *near], 0.3, seed)
    assert held
    documents = [
        {row.messages[0].content.split("\n")[0] for row in part if row.source.startswith("d")} for part in (train, held)
    ]
    assert not documents[0] & documents[1]
    assert not overlap(held, train).exact and not overlap(held, train).near


def test_an_instruction_that_all_rows_have_ties_none() -> None:
    """One line of 160 characters before every question is no document."""
    instruction = (
        "You are given the text of a customer's message. Read it with care, decide which of the kinds it is, and answer " * 2
    )
    words = [f"{a}{b}r{c}" for a in "bdfgk" for b in "aeiou" for c in "lmnst"]
    rows = [talk(f"{instruction}\n{word * 3} {i} broke my {word}", f"kind {i % 5}", f"x:{i}") for i, word in enumerate(words)]
    train, held = hold_back(rows, 0.2, 0)
    assert len(held) == 25 and len(train) == 100
