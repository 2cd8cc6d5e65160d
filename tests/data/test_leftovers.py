"""Labels that several answers of a set share, and ends that no sentence of it has: nothing here is in any list of patterns."""

from __future__ import annotations

import json
import time

import pytest
from tests.machine_speed import slowness

from kitae.chat import Conversation
from kitae.data.clean.rules import RowView
from kitae.data.clean.rules.leftovers import Labels
from kitae.data.clean.survey import Rules, judged

THINGS = ["harbour", "lantern", "meadow", "violin", "glacier", "bakery", "orchard", "tunnel", "compass", "feather"]
ASKS = ["What is a {}?", "Tell me about the {}.", "Why does a {} matter?", "How was the {} made?"]


def row(number: int, asked: str, answer: str) -> Conversation:
    return Conversation.of([{"role": "user", "content": asked}, {"role": "assistant", "content": answer}], f"r:{number}")


def plain(count: int = 40) -> list[tuple[str, str]]:
    return [
        (
            ASKS[i % 4].format(THINGS[i % 10]),
            f"People of town {i} know the {THINGS[i % 10]} well. It has been there for {i + 9} years.",
        )
        for i in range(count)
    ]


def found(rows: list[tuple[str, str]], gate: str = "data.tags") -> list[int]:
    reasons = judged([row(i, *each) for i, each in enumerate(rows)], Rules())
    return [i for i, findings in enumerate(reasons) if any(finding.gate == gate for finding in findings)]


def marked(style: str, at: range = range(0, 40, 6)) -> list[tuple[str, str]]:
    return [(asked, style.format(answer) if i in at else answer) for i, (asked, answer) in enumerate(plain())]


@pytest.mark.parametrize(
    "style",
    ["{} <zq:done>", "{}\n%%over%%", "Robot7>> {}", "◆回復◆{}", "<own_word>{}</own_word>", "{}\n~caller~ Thank you so much."],
)
def test_a_label_at_the_edge_of_several_answers(style: str) -> None:
    assert found(marked(style)) == [*range(0, 40, 6)]


def test_what_most_answers_have_was_meant() -> None:
    assert found(marked("{} <zq:done>", range(40))) == []


def test_a_label_that_the_question_names_or_is_about() -> None:
    named = [
        (f"{asked} End with <zq:done>.", answer) if "<zq" in answer else (asked, answer)
        for asked, answer in marked("{} <zq:done>")
    ]
    assert found(named) == []
    letters = [
        (f"Write a letter about it. {asked}", answer) if "«" in answer else (asked, answer)
        for asked, answer in marked("{} «your name»")
    ]
    assert found(letters) == []


def test_how_many_answers_begin_is_no_label() -> None:
    assert found(marked("- {}")) == found(marked("Yes, {}")) == found(marked("Note: it is so. {}")) == []


def test_labels_lie_in_a_chunk_as_they_were() -> None:
    labels = Labels()
    for number, each in enumerate(marked("{} <zq:done>")):
        labels.add(number, RowView(row(number, *each)))
    assert Labels.of_plain(json.loads(json.dumps(labels.pruned().plain()))) == labels and len(labels.leftovers()) == 7


@pytest.mark.parametrize(
    "text", ["<" * 50_000, "\n" + " \t" * 50_000 + "x", "\n<a" * 50_000, "a " * 50_000, "'" * 50_000, "/a" * 50_000]
)
def test_no_text_takes_long(text: str) -> None:
    began = time.process_time()
    Labels().add(0, RowView(row(0, text, text)))
    assert time.process_time() - began < 2 * slowness()


def test_answers_of_a_tidy_set_that_break_off() -> None:
    """Not by a word that is in a list: by what ends the other sentences."""
    rows = plain(60)
    cut = {
        7: "People of town 7 know the violin well. It has been",
        20: "People of town 20 know the harbour well. It has",
        33: "People of town 33 kn",
    }
    assert set(found([(asked, cut.get(i, answer)) for i, (asked, answer) in enumerate(rows)], "data.truncated")) >= {7, 20}


def test_answers_in_a_set_that_uses_no_full_stops_are_whole() -> None:
    rows = [(asked, answer.rstrip(".")) for asked, answer in plain(60)]
    assert found(rows, "data.truncated") == []


@pytest.mark.parametrize(
    "code",
    [
        "def f(a):\n    return sum(x for x in a if x",
        "let a = 1;\nconst total =",
        "total = f(1)\nif total in",
        "f(x, {\n  a: [1, 2]",
    ],
)
def test_code_that_breaks_off(code: str) -> None:
    assert found([("Write code for it.", code)], "data.truncated") == [0]


@pytest.mark.parametrize(
    "code", ["for (;;) { f(a[0]); }", "print(':(')\nx = a // b", "x in [0, 5)\ny in (1, 2]", "find . -print", "if a: b()  # (c"]
)
def test_code_that_ends(code: str) -> None:
    assert found([("Write code for it.", code)], "data.truncated") == []
