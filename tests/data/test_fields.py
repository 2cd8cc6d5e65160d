"""Nothing that a row says is dropped in silence: it is learned, kept beside the row, told, or it refuses the row."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kitae.api.rows import gather_rows
from kitae.chat import ChatCodec, Conversation
from kitae.data.rows import content
from kitae.data.shapes import conversation
from kitae.errors import InputError
from kitae.recipe import load_recipe

TALK = [{"role": "user", "content": "What is 2 + 3?"}, {"role": "assistant", "content": "5."}]
LONG = [*TALK, {"role": "user", "content": "And 4 + 4?"}, {"role": "assistant", "content": "8."}]
CALL = [{"type": "function", "function": {"name": "add", "arguments": '{"a": 2, "b": 3}'}}]


def read(record: dict[str, Any], form: str = "auto") -> Conversation:
    return conversation(record, form, "rows.jsonl:1", "rows.jsonl:1")


def with_answer(**fields: object) -> dict[str, Any]:
    return {"messages": [TALK[0], {**TALK[1], **fields}]}


@pytest.mark.parametrize(
    ("record", "word"),
    [
        (with_answer(tool_calls=CALL), "tool_calls"),
        (with_answer(content="", tool_calls=CALL), "tool_calls"),
        (with_answer(content=None, tool_calls=CALL), "tool_calls"),
        (with_answer(content=None), "nothing is said"),
        (with_answer(reasoning_content="First, 2."), "reasoning_content"),
        (with_answer(function_call={"name": "add"}), "function_call"),
        ({"messages": TALK, "tools": CALL}, "tools"),
        ({"messages": TALK, "tools": json.dumps(CALL)}, "tools"),
        (
            {"conversations": [{"from": "human", "value": "Add."}, {"from": "function_call", "value": "{}"}]},
            "calls of functions",
        ),
        ({"prompt": "2 + 3?", "completion": "5.", "reasoning": "First, 2."}, "reasoning"),
        ({"messages": TALK, "images": ["a.png"]}, "images"),
        (with_answer(weight=0), "no answer is to be learned"),
        (with_answer(weight=0.5), "neither 0 nor 1"),
    ],
)
def test_what_would_be_missed_refuses_the_row(record: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError) as told:
        read(record)
    assert word in str(told.value.why) and "NoneType" not in str(told.value.why)


@pytest.mark.parametrize("tools", ["[]", [], "", None, "null"])
def test_no_tools_are_no_tools(tools: object) -> None:
    row = read({"messages": TALK, "tools": tools})
    assert len(row.messages) == 2 and row.unread == ()


def test_a_developer_speaks_to_the_system() -> None:
    assert read({"messages": [{"role": "developer", "content": "Be brief."}, *TALK]}).messages[0].role == "system"


@pytest.mark.parametrize(
    ("record", "unread"),
    [
        ({"messages": LONG[:3]}, ("message.(after the last answer)",)),
        ({"messages": TALK, "context": "A lesson."}, ("context",)),
        ({"prompt": "2 + 3?", "completion": "5.", "hint": "Count."}, ("hint",)),
        ({"instruction": "Add.", "input": "2, 3", "output": "5.", "text": "Below is …"}, ("text",)),
        (with_answer(feeling="glad"), ("message.feeling",)),
        ({"messages": TALK, "id": 7, "source": "school", "score": 0.5, "metadata": {"a": 1}}, ()),
        ({"messages": TALK, "context": "", "hint": None, "examples": []}, ()),
        ({"question": "2 + 3?", "answer": "5.", "more": "x"}, ("more",)),
    ],
)
def test_what_is_not_read_is_named(record: dict[str, Any], unread: tuple[str, ...]) -> None:
    assert read(record).unread == unread


def labelled(codec: ChatCodec, record: dict[str, Any]) -> str:
    (encoded,) = codec.encode(read(record))
    return codec.vocabulary.decode([i for i, learned in zip(encoded.ids, encoded.loss_mask, strict=True) if learned])


@pytest.mark.parametrize("name", ["weight", "train", "loss"])
def test_an_answer_without_weight_is_read_and_not_learned(codec: ChatCodec, name: str) -> None:
    record = {"messages": [LONG[0], {**LONG[1], name: 0}, *LONG[2:]]}
    assert labelled(codec, {"messages": LONG}) == "5.<|im_end|>8.<|im_end|>"
    assert labelled(codec, record) == "8.<|im_end|>"
    assert [m.learned for m in read(content(read(record))).messages] == [True, False, True, True]  # as a run saves it


def test_a_run_tells_what_it_does_not_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"prompt": f"{i} + 1?", "completion": f"{i + 1}.", "hint": "Count."} for i in range(20)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "recipe.yaml").write_text("name: a\ndata: {train: [{path: rows.jsonl}]}\n")
    gather_rows(load_recipe(tmp_path / "recipe.yaml"))
    assert "hint (20)" in capsys.readouterr().err


# A property: whatever is moved or added that a reader would learn from, the encoding is another one, or somebody says so.

WORDS = ["river", "stone", "lamp", "quiet", "seven", "copper", "window", "orchard"]


def shapes(chance: random.Random) -> dict[str, Any]:
    asked, answered, more = (" ".join(chance.sample(WORDS, 4)) for _ in range(3))
    return chance.choice(
        [
            {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]},
            {
                "messages": [
                    *({"role": role, "content": text} for role, text in (("user", asked), ("assistant", answered))),
                    *({"role": role, "content": text} for role, text in (("user", more), ("assistant", asked))),
                ]
            },
            {"conversations": [{"from": "human", "value": asked}, {"from": "gpt", "value": answered}]},
            {"instruction": asked, "input": more, "output": answered},
            {"prompt": asked, "completion": answered},
            {"question": asked, "answer": answered},
            {"system": more, "conversations": [{"from": "human", "value": asked}, {"from": "gpt", "value": answered}]},
        ]
    )


def turns_of(record: dict[str, Any]) -> list[dict[str, Any]] | None:
    return record.get("messages") or record.get("conversations")


def add_field(record: dict[str, Any], chance: random.Random) -> None:
    name = chance.choice(["hint", "context", "tools", "reasoning", "history", "functions", "plan", "documents", "rationale"])
    value: object = " ".join(chance.sample(WORDS, 3))
    if name == "history":
        value = [[str(value), "Yes."]]
    record[name] = value


def add_to_turn(record: dict[str, Any], chance: random.Random) -> None:
    turns = turns_of(record)
    place = chance.choice(turns) if turns else record
    place[chance.choice(["tool_calls", "reasoning_content", "thinking", "plan", "images", "function_call"])] = ["something"]


def unweigh(record: dict[str, Any], chance: random.Random) -> None:
    turns = turns_of(record)
    if turns is None:
        return add_field(record, chance)
    answers = [turn for turn in turns if turn.get("role", turn.get("from")) in ("assistant", "gpt")]
    chance.choice(answers)[chance.choice(["weight", "train", "loss"])] = 0
    return None


def add_turn(record: dict[str, Any], chance: random.Random) -> None:
    turns = turns_of(record)
    if turns is None:
        return add_field(record, chance)
    role, text = ("role", "content") if "role" in turns[0] else ("from", "value")
    speaker = chance.choice(["system", "user", "tool", "observation", turns[-1][role]])
    turns.insert(chance.choice([0, len(turns)]), {role: speaker, text: " ".join(chance.sample(WORDS, 3))})
    return None


def swap(record: dict[str, Any], chance: random.Random) -> None:
    turns = turns_of(record)
    if turns is not None:
        turns.reverse()
    else:
        names = [name for name in record if isinstance(record[name], str)]
        a, b = chance.sample(names, 2)
        record[a], record[b] = record[b], record[a]


CHANGES: list[Callable[[dict[str, Any], random.Random], None]] = [add_field, add_to_turn, unweigh, add_turn, swap]


def test_two_thousand_rows_lose_nothing_in_silence(codec: ChatCodec) -> None:
    chance, silent = random.Random(0), []
    for _ in range(2000):
        before = shapes(chance)
        after = copy.deepcopy(before)
        change = chance.choice(CHANGES)
        change(after, chance)
        whole = [(e.ids, e.loss_mask) for e in codec.encode(read(copy.deepcopy(before)))]
        try:
            row = read(copy.deepcopy(after))
            told = bool(row.unread) or [(e.ids, e.loss_mask) for e in codec.encode(row)] != whole
        except InputError:
            told = True
        if not told:
            silent.append((change.__name__, before, after))
    assert silent == []
