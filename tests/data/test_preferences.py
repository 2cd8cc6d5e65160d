"""Preferences in the shapes that people publish them in, and in those that are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kitae.chat import Message
from kitae.core.errors import InputError
from kitae.data import Rows, read_conversations
from kitae.recipe import Source

USER, GOOD, BAD = (
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Hello to you."},
    {"role": "assistant", "content": "What?"},
)
SHAPES: dict[str, dict[str, Any]] = {
    "texts": {"prompt": "Hello", "chosen": "Hello to you.", "rejected": "What?"},
    "messages": {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]},
    "one message": {"messages": [USER], "chosen": GOOD, "rejected": BAD},
    "whole conversations": {"chosen": [USER, GOOD], "rejected": [USER, BAD]},
    "with the prompt once more": {"prompt": "Hello", "chosen": [USER, GOOD], "rejected": [USER, BAD]},
    "ShareGPT": {
        "conversations": [{"from": "human", "value": "Hello"}],
        "chosen": {"from": "gpt", "value": "Hello to you."},
        "rejected": {"from": "gpt", "value": "What?"},
    },
    "HH, the prompt apart": {
        "prompt": "\n\nHuman: Hello\n\nAssistant:",
        "chosen": "Hello to you.",
        "rejected": "What?",
    },
    "messages once more": {"prompt": [USER], "chosen": [USER, GOOD], "rejected": [USER, BAD]},
    "with the better answer beside": {"messages": [USER, GOOD], "chosen": [USER, GOOD], "rejected": [USER, BAD]},
    "HH": {
        "chosen": "\n\nHuman: Hello\n\nAssistant: Hello to you.",
        "rejected": "\n\nHuman: Hello\n\nAssistant: What?",
    },
}


def written(folder: Path, *rows: object) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_the_same_preference(tmp_path: Path, shape: str) -> None:
    (row,) = read_conversations(written(tmp_path, SHAPES[shape]))
    assert row.messages == (Message("user", "Hello"), Message("assistant", "Hello to you."))
    assert row.rejected == "What?"
    assert row.worse.messages == (Message("user", "Hello"), Message("assistant", "What?"))


def test_turns_before_the_answers_are_kept(tmp_path: Path) -> None:
    said = "\n\nHuman: a\n\nAssistant: b\n\nHuman: c: d\n\nAssistant: "
    (row,) = read_conversations(written(tmp_path, {"chosen": said + "e\n\nf", "rejected": said + "g"}))
    assert [(m.role, m.content) for m in row.prompt] == [("user", "a"), ("assistant", "b"), ("user", "c: d")]
    assert (row.answer, row.rejected) == ("e\n\nf", "g")


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"prompt": "a", "chosen": "b", "rejected": "b"}, "same answer"),
        ({"prompt": "a", "chosen": "b", "rejected": None}, "rejected"),
        ({"prompt": "a", "chosen": "", "rejected": "b"}, "chosen: an empty answer"),
        ({"prompt": "a", "chosen": "b", "rejected": " "}, "rejected: an empty answer"),
        ({"prompt": "a", "chosen": 5, "rejected": "b"}, "chosen"),
        ({"chosen": "b", "rejected": "c"}, "no prompt"),
        ({"chosen": [USER, GOOD], "rejected": [{"role": "user", "content": "Bye"}, BAD]}, "differ before"),
        ({"chosen": [USER], "rejected": [USER, BAD]}, "no answer"),
        ({"prompt": "Answer in French.", "chosen": [USER, GOOD], "rejected": [USER, BAD]}, "not those of the prompt"),
        ({"chosen": [], "rejected": [BAD]}, "chosen: []"),
        ({"prompt": ["a"], "chosen": "b", "rejected": "c"}, "prompt[0]"),
        ({"chosen": "Hi\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"}, "said by nobody"),
        ({"prompt": [{"from": "narrator", "value": "a"}], "chosen": "b", "rejected": "c"}, "narrator"),
        ({"prompt": "a", "chosen": "\ud800", "rejected": "c"}, "surrogates"),
    ],
)
def test_what_is_no_preference_is_named(tmp_path: Path, row: dict[str, object], why: str) -> None:
    with pytest.raises(InputError) as caught:
        read_conversations(written(tmp_path, SHAPES["texts"], row))
    assert caught.value.kind == "bad-row"
    assert str(caught.value.where).endswith("rows.jsonl:2")
    assert why in str(caught.value.why)


def test_saved_rows_are_read_as_they_were(tmp_path: Path) -> None:
    path = written(tmp_path, *SHAPES.values(), {"prompt": "Hello", "chosen": "Hello to you.", "rejected": "Hm."})
    rows = Rows.gather([Source.model_validate({"path": str(path)})], [], [], seed=0)
    assert [row.rejected for row in rows.train] == ["What?", "Hm."]  # the same answer, but another comparison
    assert rows.duplicates == len(SHAPES) - 1
    rows.save(tmp_path / "kept")
    assert Rows.load(tmp_path / "kept") == rows
