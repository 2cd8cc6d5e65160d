"""What a model will be examined on is found in training rows, and nothing else is taken for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kitae.chat import Conversation
from kitae.core.errors import InputError
from kitae.data.clean.leaks import Evaluations, read_evaluations


def row(asked: str, answer: str, source: str = "train:1") -> Conversation:
    return Conversation.of([{"role": "user", "content": asked}, {"role": "assistant", "content": answer}], source)


EXAM = [
    row(
        "A food truck sells grilled cheeses. Each loaf costs $3 and makes 10 sandwiches. What is the profit of ten?",
        "37",
        "exam:1",
    ),
    row("太郎は市場でりんごを12箱買い、母と姉に2箱ずつあげました。残りは何箱ですか?", "8箱", "exam:2"),
    row("Who wrote the novel Ulysses?", "Joyce", "exam:3"),
]


def test_items_are_found_verbatim_and_inside_other_text() -> None:
    exam = Evaluations(EXAM)
    for item in EXAM:
        found = exam.find(row(item.messages[0].content, "something else"))
        assert found is not None and item.source in found.evidence
    hidden = exam.find(row("Continue the text.", f"Once upon a time. {EXAM[0].messages[0].content.upper()} The end of it."))
    assert hidden is not None and "grilled cheeses" in hidden.evidence
    japanese = exam.find(row("次の問題を解いてください。" + EXAM[1].messages[0].content, "8箱です"))
    assert japanese is not None and "exam:2" in japanese.evidence


def test_short_items_are_found_with_their_answers() -> None:
    exam = Evaluations(
        [row("Center a div.", ".box { display: grid }", "exam:4"), row("Name five of the fruits.", "Kiwi", "exam:5")]
    )
    assert exam.find(row("Center a div.", ".box { display: grid }")) is not None
    assert exam.find(row("Center a div.", "Use flexbox.")) is None
    assert exam.find(row("Name five of the fruits.", "Plum")) is not None


def test_items_whose_runs_all_items_share_are_found_as_a_whole() -> None:
    items = [row(f"Reply yes or no and say nothing else: is number {i} even?", "no", f"exam:{i}") for i in range(40)]
    assert Evaluations(items).find(row(items[7].messages[0].content, "yes")) is not None


def test_what_only_resembles_an_item_is_no_leak() -> None:
    exam = Evaluations(EXAM)
    assert exam.find(row("A food truck sells soup. Each pot costs $9 and makes 4 bowls. What is the profit?", "1")) is None
    assert exam.find(row("花子は市場でみかんを3箱買いました。全部でいくつですか?", "36")) is None
    assert exam.find(row("Who wrote the novel Emma?", "Austen")) is None
    assert exam.find(row("Hello", "Hello")) is None


def test_what_all_items_share_is_no_evidence() -> None:
    rules = "Read the question with care and answer with one letter only, without any explanation of why."
    numbers = [
        "apples and pears",
        "trains to Rome",
        "the age of trees",
        "ships at sea",
        "a queen's crown",
        "bread",
        "wool",
        "iron",
    ]
    exam = Evaluations([row(f"{rules} What do you know about {what}?", "A", f"exam:{what}") for what in numbers])
    assert exam.find(row(f"{rules} How far is the moon from here?", "B")) is None
    assert exam.find(row(f"{rules} What do you know about trains to Rome?", "B")) is not None


def test_nothing_to_be_examined_on() -> None:
    assert not Evaluations([])
    assert Evaluations([]).find(row("a b c d e f g h i j", "k")) is None


def test_items_in_rows_of_another_language_and_items_that_stand_twice() -> None:
    exam = Evaluations([EXAM[0]] * 9)
    japanese = "これは英語の問題です。よく読んで、日本語で答えてください。"
    japanese += "とても難しいので、ゆっくり考えましょう。大丈夫です、きっとできます。"
    assert exam.find(row(f"{japanese * 2}\n{EXAM[0].messages[0].content}", "はい")) is not None


def test_a_sentence_in_common_is_not_the_item() -> None:
    story = EXAM[0].messages[0].content
    item = row(f"{story} {' '.join(f'And then it sold number{i} of them.' for i in range(20))}", "1", "exam:long")
    assert Evaluations([item]).find(row(story, "37")) is None
    assert Evaluations([item]).find(item) is not None


def test_items_without_one_answer_are_found_too(tmp_path: Path) -> None:
    asked = "Which of these rivers flows through the city of Vienna on its way to the sea?"
    items = [
        {"question": asked, "choice0": "Danube", "choice1": "Seine", "label": 0},
        {"turns": [asked.upper() + " And then?"]},
    ]
    file = tmp_path / "exam.jsonl"
    file.write_text("".join(json.dumps(item) + "\n" for item in items))
    exam = read_evaluations([file])
    assert exam is not None and exam.find(row(asked, "The Danube.")) is not None
    file.write_text(json.dumps({"label": 1}))
    with pytest.raises(InputError):
        read_evaluations([file])


def test_an_exam_may_have_fields_of_its_own(tmp_path: Path) -> None:
    asked = "Which of these rivers flows through the city of Vienna on its way to the sea?"
    file = tmp_path / "exam.jsonl"
    file.write_text(json.dumps({"frage": asked, "antwort": "Danube", "label": False}) + "\n")
    exam = read_evaluations([file], ["frage=antwort"])
    assert exam is not None and exam.find(row(asked, "The Danube.")) is not None
    with pytest.raises(InputError):
        read_evaluations([file])


def test_an_exam_without_items_is_no_exam(tmp_path: Path) -> None:
    (tmp_path / "exam.jsonl").write_text("\n")
    with pytest.raises(InputError) as caught:
        read_evaluations([tmp_path / "exam.jsonl"])
    assert caught.value.kind == "data-empty"
