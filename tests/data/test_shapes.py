"""The schemas in which conversations are published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kitae.core.errors import InputError
from kitae.core.row_options import FORMATS, is_format
from kitae.data import read_conversations
from kitae.data.read.shapes import AUTO, SHAPES

ASKED = [("user", "Q"), ("assistant", "A")]
RECORDS: dict[str, tuple[str, dict[str, Any], list[tuple[str, str]]]] = {
    "chat messages": ("messages", {"messages": [{"role": role, "content": said} for role, said in ASKED]}, ASKED),
    "ShareGPT": (
        "sharegpt",
        {"id": "1", "system": "S", "conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]},
        [("system", "S"), *ASKED],
    ),
    "utterances": ("utterances", {"utterances": [{"name": "user", "text": "Q"}, {"name": "agent", "text": "A"}]}, ASKED),
    "people by their names": (
        "utterances",
        {"utterances": [{"interlocutor_id": who, "text": said} for who, said in (("CP", "Q"), ("BU", "A"), ("BU", "B"))]},
        [("user", "Q"), ("assistant", "A\nB")],
    ),
    "roles beside names": (
        "messages",
        {
            "messages": [
                {"role": "user", "name": "Alice", "content": "Q"},
                {"role": "assistant", "name": "Kit", "content": "A"},
            ]
        },
        ASKED,
    ),
    "roles beside what is no name": (
        "messages",
        {"messages": [{"role": "user", "speaker": {"id": 1}, "content": "Q"}, {"role": "assistant", "content": "A"}]},
        ASKED,
    ),
    "UltraChat": ("ultrachat", {"id": "0", "data": ["Q", "A", "R", "B"]}, [*ASKED, ("user", "R"), ("assistant", "B")]),
    "Alpaca": ("alpaca", {"instruction": "Q", "input": "X", "output": "A"}, [("user", "Q\n\nX"), ("assistant", "A")]),
    "Alpaca without input": ("alpaca", {"instruction": "Q", "input": "", "output": "A"}, ASKED),
    "Alpaca with a history": (
        "alpaca",
        {"instruction": "R", "input": None, "output": "B", "system": "S", "history": [["Q", "A"]]},
        [("system", "S"), *ASKED, ("user", "R"), ("assistant", "B")],
    ),
    "Dolly": (
        "dolly",
        {"instruction": "Q", "context": "X", "response": "A", "category": "closed_qa"},
        [("user", "Q\n\nX"), ("assistant", "A")],
    ),
    "CodeAlpaca": ("codealpaca", {"instruction": "Q", "input": "", "output": "A"}, ASKED),
    "MATH": ("math", {"problem": "Q", "level": "Level 1", "type": "Algebra", "solution": "A"}, ASKED),
    "GSM8K": ("gsm8k", {"question": "Q", "answer": "A"}, ASKED),
    "SQuAD": (
        "squad",
        {"context": "X", "question": "Q", "answers": {"text": ["A", "B"], "answer_start": [1, 2]}},
        [("user", "X\n\nQ"), ("assistant", "A")],
    ),
    "JaQuAD": (
        "squad",
        {"context": "X", "question": "Q", "answers": [{"text": "A", "answer_start": 1}]},
        [("user", "X\n\nQ"), ("assistant", "A")],
    ),
    "Self-Instruct": (
        "self-instruct",
        {"instruction": "Q", "instances": [{"input": "X", "output": "A"}]},
        [("user", "Q\n\nX"), ("assistant", "A")],
    ),
    "MBPP": ("mbpp", {"text": "Q", "code": "A", "test_list": []}, ASKED),
    "fields in capitals": (
        "alpaca",
        {"Instruction": "Q", "Input": "X", "Output": "A"},
        [("user", "Q\n\nX"), ("assistant", "A")],
    ),
    "content in parts": (
        "messages",
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Q"}]}, {"role": "assistant", "content": "A"}]},
        ASKED,
    ),
    "prompt and completion": ("prompt-completion", {"prompt": "Q", "completion": "A"}, ASKED),
    "prompt and response": ("prompt-completion", {"prompt": "Q", "response": "A"}, ASKED),
    "HH-RLHF": ("hh", {"chosen": "\n\nHuman: Q\n\nAssistant: A", "rejected": "\n\nHuman: Q\n\nAssistant: B"}, ASKED),
    "preference": ("preference", {"prompt": "Q", "chosen": "A", "rejected": "B"}, ASKED),
    "plain text": ("text", {"text": "T"}, [("text", "T")]),
}


def written(tmp_path: Path, *records: object) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.mark.parametrize("name", RECORDS)
def test_every_schema(tmp_path: Path, name: str) -> None:
    form, record, wanted = RECORDS[name]
    path = written(tmp_path, record)
    for asked in (form, "auto"):
        (row,) = read_conversations(path, asked)
        assert [(message.role, message.content) for message in row.messages] == wanted
        assert row.rejected == ("B" if "rejected" in record else None)


def test_every_format_is_tried() -> None:
    assert {form for form, _, _ in RECORDS.values()} == set(SHAPES) == set(FORMATS) - {"auto"}


def test_fields_of_ones_own(tmp_path: Path) -> None:
    record = {"input text": "Q", "passage": "P", "hint": " ", "none": None, "said": "A", "system": "S", "history": [["q", "a"]]}
    (row,) = read_conversations(written(tmp_path, record), "input text + passage+hint+none= said")
    assert [message.content for message in row.messages] == ["S", "q", "a", "Q\n\nP", "A"]
    for form, missing in (("nothing=said", "nothing"), ("input text=nothing", "nothing"), ("input text+pasage=said", "pasage")):
        with pytest.raises(InputError) as caught:
            read_conversations(written(tmp_path, record), form)
        assert caught.value.kind == "row-format", missing
    with pytest.raises(InputError) as caught:
        read_conversations(written(tmp_path, record), "input text=history")
    assert caught.value.why == "history: list is no text"
    for wrong in ("question", "=answer", "question=", "question+=answer", "", "q=a=b", "q=a+b"):
        assert not is_format(wrong)


def test_one_that_is_named_wants_its_own_fields(tmp_path: Path) -> None:
    for form, record, _ in RECORDS.values():
        for other in {"messages", "ultrachat", "math"} - {form}:
            with pytest.raises(InputError) as caught:
                read_conversations(written(tmp_path, record), other)
            assert caught.value.kind == "row-format"


def test_speech_in_one_field(tmp_path: Path) -> None:
    said = "\n\nHuman: Q\n\nAssistant: A"
    (row,) = read_conversations(written(tmp_path, {"text": said}), "hh")
    assert row.answer == "A"
    (row,) = read_conversations(written(tmp_path, {"chosen": said}), "hh")
    assert row.rejected is None
    assert "hh" not in AUTO
    (row,) = read_conversations(written(tmp_path, {"text": said}))
    assert row.is_text
    with pytest.raises(InputError):
        read_conversations(written(tmp_path, {"text": "nobody"}), "hh")


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ({"instruction": "Q", "input": 5, "output": "A"}, "input: int"),
        ({"instruction": "Q", "output": ["A"]}, "output: list"),
        ({"instruction": "Q", "output": "A", "history": "B"}, "history"),
        ({"instruction": "Q", "output": "A", "history": [["B"]]}, "history"),
        ({"instruction": "Q", "output": "A", "history": [["B", 3]]}, "history[1]"),
        ({"instruction": "Q", "output": "A", "system": 5}, "system: int"),
        ({"question": "Q", "answer": 5}, "answer: int"),
        ({"data": ["Q", 3]}, "data[1]"),
        ({"conversations": []}, "conversations: []"),
        ({"conversations": [{"from": "narrator", "value": "Q"}]}, "narrator"),
        ({"conversations": [{"from": "human"}]}, "conversations[0].content"),
        ({"conversations": [{"from": "human", "value": "Q"}], "tools": "[{}]"}, "tools"),
        ({"messages": [{"role": "user", "content": "Q"}], "label": False}, "label"),
        ({"messages": [{"role": "assistant", "content": "A", "label": False}]}, "messages[0].label"),
        ({"prompt": "Q", "completion": "A", "label": False}, "label"),
        ({"instruction": "Q", "output": "A", "label": False}, "label"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, record: dict[str, Any], why: str) -> None:
    path = written(tmp_path, {"text": "T"}, record)
    with pytest.raises(InputError) as caught:
        read_conversations(path)
    assert (caught.value.kind, caught.value.where) == ("bad-row", f"{path}:2")
    assert why in caught.value.why


@pytest.mark.parametrize(
    "record",
    [
        {"instruction": "Q", "instances": []},
        {"instruction": "Q", "instances": [{"output": "A"}, {"output": "B"}]},
        {"context": "X", "question": "Q", "answers": []},
        {"context": "X", "question": "Q", "answers": {"text": []}},
        {
            "messages": [
                {"role": "user", "content": [{"type": "image_url", "image_url": "x"}]},
                {"role": "assistant", "content": "A"},
            ]
        },
    ],
)
def test_what_one_row_cannot_hold_is_named(tmp_path: Path, record: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        read_conversations(written(tmp_path, record))
    assert caught.value.kind == "bad-row"
