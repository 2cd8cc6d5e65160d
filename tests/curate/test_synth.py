"""Rows that a writer makes after the example of others: what is kept, what is not and why, and where each came from."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tests.scripted_writer import reply, task

from kitae.ask import Reply, Request
from kitae.chat import Conversation, Message
from kitae.core.errors import InputError
from kitae.core.i18n import catalogue
from kitae.curate.synth import Grown, Growth, Task, grow, nearest_documents, read_documents, read_tasks, variety
from kitae.curate.synth.ideas import METHODS, Document
from kitae.curate.synth.sieve import Likeness, Sieve, agreed, final, rouge_l
from kitae.data.clean.leaks import Evaluations

SEEDS = [Task(task(f"seed {i}"), f"One answer, and it is number {i} of them.", f"seeds:{i}") for i in range(12)]
DOCUMENTS = [Document(f"Passage {i} tells of {word} at length.", f"corpus:{i}") for i, word in enumerate("abcdefghijkl" * 3)]
Says = Callable[[str], "str | Reply"]


def asking(says: Says = reply) -> Callable[[Sequence[Request]], list[Reply | None]]:
    def ask(requests: Sequence[Request]) -> list[Reply | None]:
        found = (says(request.messages[-1].content) for request in requests)
        return [one if isinstance(one, Reply) else Reply(one) for one in found]

    return ask


def grown(method: str = "evol-instruct", rows: int = 12, says: Says = reply, **more: object) -> Grown:
    documents = DOCUMENTS if METHODS[method].needs_documents else []
    options = {name: more.pop(name) for name in list(more) if name == "evaluations"}
    growth = Growth(method, rows, "writer", **more)  # type: ignore[arg-type]
    return grow(growth, SEEDS, documents, asking(says), asking(says), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_grows_rows_with_their_lineage(method: str) -> None:
    found = grown(method)
    assert found.ended == "enough" and len(found.kept) == 12
    assert len({row["messages"][0]["content"] for row in found.kept}) == 12
    for row in found.kept:
        assert [m["role"] for m in row["messages"]] == ["user", "assistant"]
        lineage = row["_lineage"]
        assert lineage["method"] == method and lineage["model"] == "writer" and lineage["calls"] and lineage["prompts"]
        assert all(parent["row"] and parent["where"] for parent in lineage["parents"])
        assert ("document" in lineage) == METHODS[method].needs_documents
    assert grown(method).kept == found.kept
    assert grown(method, seed=1).kept != found.kept


def test_more_rows_begin_with_those_that_there_were() -> None:
    few, many = grown(rows=5), grown(rows=20)
    assert many.kept[:5] == few.kept


def test_new_tasks_grow_further_but_not_for_ever() -> None:
    found = grown(rows=200)
    names = {parent["where"] for row in found.kept for parent in row["_lineage"]["parents"]}
    assert any(name.startswith("row ") for name in names) and any(name.startswith("seeds:") for name in names)
    grew: dict[str, int] = {}
    for i, row in enumerate(found.kept, 1):
        (parent,) = row["_lineage"]["parents"]
        grew[f"row {i}"] = grew.get(parent["where"], 0) + 1 if row["_lineage"]["operation"] != "breadth" else 0
    assert max(grew.values()) == 4
    operations = {row["_lineage"]["operation"] for row in found.kept}
    assert operations == {"constraint", "deepen", "concretise", "reason", "breadth"}


def thinking(said: str) -> Says:
    """Says this wherever a new task is asked for."""
    return lambda text: said if "Task:\n" in text else reply(text)


def answering(said: Callable[[str], str | Reply]) -> Says:
    """Says this wherever a task is answered."""
    return lambda text: reply(text) if "Task:\n" in text or "SAME or" in text else said(reply(text))


BAD: dict[str, tuple[str, Says]] = {
    "an answer that refuses": ("synth.refusal", answering(lambda _: "I'm sorry, but I can't help with that.")),
    "an empty answer": ("synth.reply", answering(lambda _: "  ")),
    "markup of another format": ("data.tags", answering(lambda said: f"[INST] {said} [/INST]")),
    "no task in a reply": ("synth.reply", thinking("")),
    "a reply that is cut off": ("synth.reply", lambda text: Reply(str(reply(text)), "length")),
    "a call that failed": ("synth.reply", lambda text: Reply("", failed="500")),
    "a word for a task": ("synth.length", thinking("Sing.")),
    "its parent once more": ("synth.no-gain", lambda text: text.rpartition("Task:\n")[2] if "Task:\n" in text else reply(text)),
    "another seed": ("synth.similar", thinking(SEEDS[0].question)),
    "a picture": ("synth.impossible", thinking("Describe what you see in the attached picture.")),
    "the instructions": ("synth.meta", thinking("Rewrite the given task so that it has three more conditions.")),
    "an answer that is cut off": ("synth.reply", answering(lambda said: Reply(said, "length"))),
    "a task that is cut off": ("synth.reply", lambda text: Reply(str(reply(text)), "length" if "Task:\n" in text else "stop")),
    "the same to a reader": ("synth.no-gain", lambda text: "**Same**." if "SAME or DIFFERENT" in text else reply(text)),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_kept_says_why(name: str) -> None:
    gate, says = BAD[name]
    found = grown(says=says, rows=3)
    assert found.ended == "barren" and not found.kept
    assert gate in found.reasons(), found.reasons()
    assert all(row["_reasons"] and row["_lineage"]["calls"] for row in found.rejected)


def test_every_reason_is_known_and_told() -> None:
    told = {key.removeprefix("synth.because.") for key in catalogue() if key.startswith("synth.because.")}
    tried = {gate for gate, _ in BAD.values() if gate.startswith("synth.")}
    assert told == tried | {"synth.inconsistent", "synth.judged", "synth.surplus"}


def test_answers_must_agree() -> None:
    turn = iter(range(10_000))

    def says(text: str) -> str:
        if "Task:\n" in text or "SAME or" in text:
            return reply(text)
        return f"Let me see. The answer is {(7, 7, 9)[next(turn) % 3]}."

    found = grown(rows=4, says=says, answers=3, keep="consistent")
    assert len(found.kept) == 4
    assert all("7" in row["messages"][1]["content"] and row["_lineage"]["agreement"] == "2/3" for row in found.kept)
    apart = grown(rows=4, says=lambda t: says(t).replace("7", str(next(turn))), answers=3, keep="consistent")
    assert not apart.kept and "synth.inconsistent" in apart.reasons()


@pytest.mark.parametrize(("rating", "kept"), [("5", 3), ("Rating: 4", 3), ("3", 0), ("lovely", 0)])
def test_answers_must_be_rated_well(rating: str, kept: int) -> None:
    found = grown(rows=3, says=lambda text: rating if "number alone" in text else reply(text), keep="judged")
    assert len(found.kept) == kept
    assert all(row["_lineage"]["rating"] >= 4 for row in found.kept)
    assert kept or "synth.judged" in found.reasons()


def test_a_spent_budget_keeps_what_there_is() -> None:
    left = iter([True] * 40 + [False] * 10_000)

    def ask(requests: Sequence[Request]) -> list[Reply | None]:
        return [Reply(reply(request.messages[-1].content)) if next(left) else None for request in requests]

    found = grow(Growth("evol-instruct", 100, "writer"), SEEDS, [], ask, ask)
    assert found.ended == "budget" and 0 < len(found.kept) < 100


def test_hard_to_please_judges_are_not_given_up_on() -> None:
    """Of eight tasks a round one pleases; the last row is worth as many as the first."""
    turn = iter(range(100_000))

    def says(text: str) -> str:
        return ("5" if next(turn) % 8 == 7 else "2") if "number alone" in text else reply(text)

    for seed in range(5):
        assert len(grown(rows=6, says=says, keep="judged", seed=seed).kept) == 6


def test_what_a_model_will_be_examined_on_is_not_written() -> None:
    written = [row["messages"][0]["content"] for row in grown().kept]
    exam = Evaluations([Conversation((Message("user", written[0]),), "exam:1")])
    again = grown(evaluations=exam)
    assert written[0] not in [row["messages"][0]["content"] for row in again.kept]
    assert "data.leak" in again.reasons()


def test_an_exam_is_looked_for_in_tasks_and_in_rows() -> None:
    asked, answer = task("exam"), "It is best to begin with what is known, and to go on from there."
    sieve = Sieve(Likeness(), Evaluations([Conversation((Message("user", asked),), "exam:1")]))
    found = sieve.question(asked, None)
    assert found is not None and found.gate == "data.leak"
    row = Conversation((Message("user", asked), Message("assistant", answer)))
    assert "data.leak" in {finding.gate for finding in sieve.row(row)}


def test_how_alike_is_too_alike() -> None:
    """A task that grew has most of its parent's words, so it may be more like others than a new one."""
    known = Likeness()
    known.add("Name three rivers in the south of France.", "seed")
    sieve = Sieve(known)
    found = sieve.question("Name three rivers in the north of France.", None)
    assert found is not None and found.gate == "synth.similar"
    assert sieve.question("Name three rivers in the north of France.", "Name a river.") is None


@pytest.mark.parametrize(("token", "most"), [("word ", 150), ("雨", 400)])
def test_how_long_a_task_may_be(token: str, most: int) -> None:
    assert Sieve(Likeness()).question(token * most, None) is None
    found = Sieve(Likeness()).question(token * (most + 1), None)
    assert found is not None and found.gate == "synth.length"


def test_an_answer_that_only_begins_like_a_refusal_is_none() -> None:
    sieve = Sieve(Likeness())
    long = "I'm sorry to hear that your tomatoes died. " + " ".join(f"Then try the {i}th remedy." for i in range(30))
    for answer, gates in ((long, set()), ("I'm sorry, I can't say.", {"synth.refusal"})):
        row = Conversation((Message("user", "What killed my tomatoes?"), Message("assistant", answer)))
        assert {finding.gate for finding in sieve.row(row)} & {"synth.refusal"} == gates


def test_passages_end() -> None:
    found = grown("craft", rows=100)
    assert found.ended == "nothing-left" and 10 < len(found.kept) <= len(DOCUMENTS)


def test_passages_near_the_examples_come_first() -> None:
    tasks = [
        Task("How do I knead bread dough?", "Fold it over and press.", "a"),
        Task("What is a glacier?", "Moving ice.", "b"),
    ]
    documents = [
        Document("Stock prices fell again on Monday, and nobody on the exchange knew why they did.", "1"),
        Document("Bread dough wants patience: knead it, let it rest, and fold it again before baking.", "2"),
        Document("A glacier is a body of dense ice that keeps moving under its own weight.", "3"),
    ]
    assert {document.where for document in nearest_documents(tasks, documents)[:2]} == {"2", "3"}


def test_a_rare_word_in_common_says_more_than_many_common_ones() -> None:
    texts = [
        "What does the market do in the winter of the year?",
        "What does the baker do in the winter of the day?",
        "What does the plumber do in the morning of the year?",
        "Glacier ice.",
    ]
    found = nearest_documents(
        [Task("What does the glacier do in the winter of the year?", "It grows.", "a")],
        [Document(text, str(i)) for i, text in enumerate(texts)],
    )
    assert found[0].where == "3"


def test_a_corpus_in_passages(tmp_path: Path) -> None:
    file = tmp_path / "corpus.txt"
    paragraphs = [f"({i}) " + "Rain fell on the town. " * 20 for i in range(12)]
    file.write_text("\n\n".join([*paragraphs, "x" * 7000]))
    found = read_documents([file])
    assert all(300 <= len(document.text) <= 3000 for document in found)
    assert sum(text.strip() in document.text for text in paragraphs for document in found) == 12
    assert sum(document.text.count("x") for document in found) == 7000 and len({document.where for document in found}) == len(
        found
    )


def test_seeds_are_questions_with_answers(tmp_path: Path) -> None:
    file = tmp_path / "seeds.jsonl"
    turns = [
        {"role": role, "content": text} for role, text in (("system", "S"), ("user", "Q"), ("assistant", "A"), ("user", "R"))
    ]
    file.write_text(json.dumps({"messages": turns}))
    (found,) = read_tasks([file])
    assert (found.question, found.answer) == ("Q", "A")
    for bad in ({"text": "T"}, {"messages": [{"role": "user", "content": "Q"}]}):
        file.write_text(json.dumps(bad))
        with pytest.raises(InputError):
            read_tasks([file])


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("1. One task\n2. Another one\n3. A third", ["One task", "Another one", "A third"]),
        ("Sure!\n\n1) First:\n   1. inner\n2) Second", ["First:\n   1. inner", "Second"]),
        ("**Task 1:** Alpha beta\n**Task 2:** Gamma", ["Alpha beta", "Gamma"]),
        ("課題1: 天気を説明する\n課題2: 手紙を書く", ["天気を説明する", "手紙を書く"]),
        ('1. "Quoted task"\n2. “Other”', ["Quoted task", "Other"]),
        ("No list here", []),
        *(
            (form, ["One task", "Another one"])
            for form in (
                "(1) One task\n(2) Another one",
                "① One task\n② Another one",
                "### 1. One task\n\n### 2. Another one",
                "## Task 1\nOne task\n## Task 2\nAnother one",
                "**Task 1**: One task\n**Task 2**: Another one",
                "- One task\n- Another one",
                "#1 - One task\n#2 - Another one",
                "1 - One task\n2 - Another one",
                "1\\. One task\n2\\. Another one",
                '["One task", "Another one"]',
                "一、One task\n二、Another one",
                "9. One task\n10. Another one",
                "1. One task\n1. Another one",
                "1. One task\n2. Another one\n\nI hope these help!",
                "```\n1. One task\n2. Another one\n```",
                "**1.** **A title**: One task\n**2.** **Title:** Another one",
                "My plan:\n1. think\nTasks:\n1. One task\n2. Another one",
            )
        ),
    ],
)
def test_lists_are_read(text: str, wanted: list[str]) -> None:
    assert [one.question for one in METHODS["self-instruct"].read(text)] == wanted


def test_pairs_and_plans_are_read() -> None:
    (pair,) = METHODS["craft"].read("Sure.\nQUESTION: Why?\n\n**ANSWER:** Because.\nTruly.")
    assert (pair.question, pair.answer) == ("Why?", "Because.\nTruly.")
    two = METHODS["craft"].read("QUESTION: a?\nANSWER: b.\n\nQUESTION: c?\nANSWER: d.\ne.")
    assert [(one.question, one.answer) for one in two] == [("a?", "b."), ("c?", "d.\ne.")]
    for form in ("**QUESTION:** Why?\n**ANSWER:** So.", "### QUESTION:\nWhy?\n### ANSWER:\nSo.", "質問：Why?\n回答：So."):
        assert [(one.question, one.answer) for one in METHODS["craft"].read(form)] == [("Why?", "So.")]
    assert METHODS["craft"].read("Why? Because.") == []
    assert [one.question for one in METHODS["cot-self-instruct"].read("Plan.\n=== TASK ===\nNew task: Do it.")] == ["Do it."]
    assert METHODS["cot-self-instruct"].read("Only a plan.") == []


def test_likeness_is_that_of_the_longest_common_subsequence() -> None:
    def slow(a: list[str], b: list[str]) -> int:
        table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
        for i, x in enumerate(a):
            for j, y in enumerate(b):
                table[i + 1][j + 1] = table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
        return table[-1][-1]

    import random

    rng = random.Random(0)
    for _ in range(200):
        a, b = ([rng.choice("abcd") for _ in range(rng.randint(1, 90))] for _ in range(2))
        assert rouge_l(a, b) == pytest.approx(2 * slow(a, b) / (len(a) + len(b)))
    assert rouge_l([], ["a"]) == 0
    known = Likeness()
    known.add("Name three rivers in the south of France.", "one")
    known.add("Name three rivers in the north of France.", "two")
    near = known.nearest("Name three rivers in the north of France!", 0.7)
    assert near is not None and near[1] == "two" and known.nearest("Bake a cake.", 0.7) is None


@pytest.mark.parametrize(
    "text",
    [
        "Write a Python function that opens a file and counts its lines.",
        "Write a Python script that makes the attached images smaller.",
        "Explain why the French Revolution failed to draw in the peasants of the west.",
        "What is the big picture of the causes that led to the war? Draw three conclusions.",
        "次の文章を要約してください。今日は朝から雨が降り、夕方には上がりました。",
        "Plot summary: what happens at the end of Macbeth, and who is to blame?",
    ],
)
def test_good_tasks_pass(text: str) -> None:
    assert Sieve(Likeness()).question(text, None) is None


@pytest.mark.parametrize(
    ("answers", "index", "count"),
    [
        (["It is 4.", "#### 4", "So 5", "\\boxed{4.0}"], 0, 3),
        (["Answer: 1,200", "about 1200", "12"], 0, 2),
        (["Red", "Blue", "blue."], 1, 2),
        (["3", "\\boxed{7}, found in 3 steps", "7"], 1, 2),
        (["2", "2 and 2 make 4", "4"], 1, 2),
        (["答え：3個", "3", "4"], 0, 2),
        (["1234567", "1234568", "1,234,568"], 1, 2),
        (["1/4", "3/4", "0.75"], 1, 2),
        ([r"\boxed{\frac{1}{2}}", r"\boxed{\frac{3}{2}}", "So it is 0.5"], 0, 2),
        (["The answer is 12.\nI hope this answer helps!", "99\nI hope this answer helps!", "12"], 0, 2),
        (["Answer: (a) red", "answer is (b) blue", "the answer is (b) Blue."], 1, 2),
    ],
)
def test_what_answers_come_to(answers: list[str], index: int, count: int) -> None:
    assert agreed(answers) == (index, count), [final(answer) for answer in answers]


def test_variety() -> None:
    same, different = variety(["Name a river."] * 5), variety([task(str(i)) for i in range(20)])
    assert same["nearest"] == 1 and different["nearest"] < 0.7
    assert same["different_pairs"] < different["different_pairs"]
    assert variety([]) == {"different_pairs": 0.0, "different_beginnings": 0.0, "nearest": 0.0}
