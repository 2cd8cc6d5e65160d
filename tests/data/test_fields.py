"""Nothing that a row says is dropped in silence: it is learned, kept beside the row, told, or it refuses the row."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kitae.chat import ChatCodec, ChatTemplate, Conversation
from kitae.core.errors import InputError
from kitae.data.read.shapes import conversation
from kitae.data.rows import content
from kitae.recipe import load_recipe
from kitae.workflows.rows import gather_rows

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
        ({"instruction": "Add.", "instances": [{"input": "2, 3", "output": "5.", "tools": CALL}]}, "tools"),
        ({"prompt": "2 + 3?", "completion": "5.", "train": False}, "not to be learned"),
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
        ({"instruction": "Add.", "instances": [{"input": "2, 3", "output": "5.", "plan": "x"}]}, ("instances.plan",)),
        (with_answer(text="Five."), ("message.text",)),
        ({"messages": TALK, "persona": "You are a pirate."}, ("persona",)),
        ({"prompt": LONG[:3], "chosen": LONG[3:], "rejected": [{**LONG[3], "content": "9."}]}, ()),
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


REWRITES = (
    "{% for m in messages %}{% if m.role == 'user' %}<|im_start|>user {{ m.content }}<|im_end|>"
    "{% else %}{% if loop.last %}<t>{% endif %}{{ m.content }}<|im_end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<t>{% endif %}"
)


def test_a_template_that_rewrites_turns_learns_no_unwanted_one(codec: ChatCodec) -> None:
    other = ChatCodec(codec.vocabulary, ChatTemplate(REWRITES, {}))
    every = other.encode(read({"messages": LONG}))
    wanted = other.encode(read({"messages": [LONG[0], {**LONG[1], "weight": 0}, *LONG[2:]]}))
    assert (len(every), len(wanted)) == (2, 1)
    assert wanted[0].ids == every[1].ids


def test_one_speaker_in_two_messages(codec: ChatCodec) -> None:
    turns = [
        {"speaker": "Ann", "text": "Hello."},
        {"speaker": "Bob", "text": "A."},
        {"speaker": "Bob", "text": "B.", "mood": "x"},
    ]
    row = read({"utterances": turns})
    assert row.messages[1].content == "A.\nB." and row.unread == ("message.mood",)
    turns[1]["weight"] = 0
    with pytest.raises(InputError):
        read({"utterances": turns})


def test_what_is_not_learned_is_not_asked_for() -> None:
    row = read({"messages": [*LONG[:3], {**LONG[3], "weight": 0}]})
    assert row.teaches and row.answer == "8." and row.learned_part.answer == "5."


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
            {"instruction": asked, "instances": [{"input": more, "output": answered}]},
            {"utterances": [{"speaker": "Ann", "text": asked}, {"speaker": "Bob", "text": answered}]},
            {"prompt": asked, "chosen": answered, "rejected": more},
            {"system": more, "conversations": [{"from": "human", "value": asked}, {"from": "gpt", "value": answered}]},
        ]
    )


def turns_of(record: dict[str, Any]) -> list[dict[str, Any]] | None:
    return record.get("messages") or record.get("conversations") or record.get("utterances") or record.get("instances")


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
    answers = [
        turn for turn in turns if turn.get("role", turn.get("from", turn.get("speaker"))) in ("assistant", "gpt", "Bob")
    ] or turns
    chance.choice(answers)[chance.choice(["weight", "train", "loss"])] = 0
    return None


def add_turn(record: dict[str, Any], chance: random.Random) -> None:
    turns = turns_of(record)
    if turns is None:
        return add_field(record, chance)
    role, text = next(
        (pair for pair in (("role", "content"), ("from", "value"), ("speaker", "text")) if pair[0] in turns[0]), ("", "")
    )
    if not role:
        return add_field(record, chance)
    speaker = chance.choice(["system", "user", "tool", "observation", turns[-1][role]])
    turns.insert(chance.choice([0, len(turns)]), {role: speaker, text: " ".join(chance.sample(WORDS, 3))})
    return None


def swap(record: dict[str, Any], chance: random.Random) -> None:
    turns = turns_of(record)
    if turns is not None and len(turns) > 1:
        turns.reverse()
    else:
        names = [name for name in record if isinstance(record[name], str)]
        if len(names) < 2:
            return add_field(record, chance)
        a, b = chance.sample(names, 2)
        record[a], record[b] = record[b], record[a]
    return None


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


@pytest.mark.parametrize(
    ("record", "suggested"),
    [
        ({"input_text": "2 + 3?", "output_text": "5."}, "--format input_text=output_text"),
        ({"id": 3, "UserQuery": "2 + 3?", "BotReply": "5."}, "--format UserQuery=BotReply"),
        ({"title": "A", "body": "B"}, ""),
    ],
)
def test_rows_of_an_unknown_form_are_told_how_to_say_it(record: dict[str, Any], suggested: str) -> None:
    with pytest.raises(InputError) as told:
        read(record)
    assert told.value.kind == "row-format" and told.value.why.partition(" → ")[2] == suggested
    if suggested:
        assert read(record, suggested.partition(" ")[2]).answer == "5."


def test_what_stands_beside_the_turns() -> None:
    asked, said = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
    row = conversation({"prompt": [asked], "completion": [said], "system_prompt": "Be brief."}, "auto", "x", "x")
    assert [(m.role, m.content) for m in row.messages] == [("system", "Be brief."), ("user", "a"), ("assistant", "b")]
    with pytest.raises(InputError) as told:
        conversation({"prompt": "a", "completion": "b", "weight": 0}, "auto", "x", "x")
    assert "not to be learned" in told.value.why
    assert conversation({"prompt": "a", "completion": "b", "weight": 3}, "auto", "x", "x").unread == ("weight",)
    with pytest.raises(InputError):
        conversation({"prompt": "a", "completion": "b", "weight": 1, "train": False}, "auto", "x", "x")
    for lost, why in (({"weight": 0}, "no answer is to be learned"), ({"tool_calls": [{"name": "f"}]}, "tool_calls")):
        with pytest.raises(InputError) as told:
            conversation({"prompt": [asked], "completion": [{**said, **lost}]}, "auto", "x", "x")
        assert why in told.value.why
    noted = conversation({"prompt": [asked], "completion": [{**said, "mood": "good"}]}, "auto", "x", "x")
    assert noted.unread == ("message.mood",)
    twice = {"system": "Be brief.", "messages": [{"role": "system", "content": "Be long."}, asked, said]}
    assert conversation(twice, "auto", "x", "x").unread == ("system",)
