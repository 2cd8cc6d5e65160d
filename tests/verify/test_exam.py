"""What every form of a model is asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kitae.chat import ChatCodec, Conversation
from kitae.models import Target
from kitae.recipe import load_recipe
from kitae.verify.exam import own_exam


def row(words: int) -> Conversation:
    return Conversation.of([{"role": "user", "content": "Tell."}, {"role": "assistant", "content": "so " * words}])


@pytest.mark.parametrize(("words", "count"), [(10, 24), (1_000, 7), (3_000, 4)])
def test_long_rows_are_compared_up_to_so_many_tokens(words: int, count: int, codec: ChatCodec, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps({"messages": [{"role": "user", "content": "Tell."}]}) + "\n")
    (tmp_path / "recipe.yaml").write_text("name: long\nmodel: {max_length: 4096}\ndata: {train: [{path: rows.jsonl}]}\n")
    recipe = load_recipe(tmp_path / "recipe.yaml")
    exam = own_exam(recipe, codec, None, [], [row(words)] * 40)
    assert len(exam.rows) == count
    assert len(exam.prompts) == 40  # what is answered is another matter
    job = exam.job(Target(Path("x")))
    assert sum(map(len, job.sequences)) <= 8_192 or count == 4


@pytest.mark.parametrize(
    ("setting", "words", "room", "asked"),
    [
        ("auto", [40, 200], 252, 2),  # 201 tokens and a quarter
        ("auto", [3], 32, 1),
        ("auto", [20, 900], 512, 1),  # the right answer to the other would be cut off
        (100, [20, 200], 100, 1),
        (8, [20, 200], 8, 2),  # nothing fits, so all are asked
    ],
)
def test_answers_have_room_for_what_is_right(
    setting: str | int, words: list[int], room: int, asked: int, codec: ChatCodec, tmp_path: Path
) -> None:
    (tmp_path / "recipe.yaml").write_text(
        f"name: long\ndata: {{train: [{{path: rows.jsonl}}]}}\nevaluate: {{max_new_tokens: {setting}}}\n"
    )
    exam = own_exam(load_recipe(tmp_path / "recipe.yaml"), codec, None, [], [row(count) for count in words])
    assert exam.max_new_tokens == pytest.approx(room, abs=3) and len(exam.prompts) == asked
