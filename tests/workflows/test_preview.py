"""`kitae data preview` shows what is learned, whatever the rows are."""

from __future__ import annotations

import json
from pathlib import Path

from kitae.workflows import preview_data


def test_both_answers_of_a_preference(starter: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps({"prompt": "2 + 2?", "chosen": "4", "rejected": "22"}) + "\n")
    better, worse = preview_data(tmp_path / "rows.jsonl", str(starter), 3)["rows"]
    assert "⟦4<|im_end|>" in better["text"]
    assert "22<|im_end|>" in worse["text"]
    assert "⟦" not in worse["text"]
    assert "rejected" in worse["notes"]


def test_only_answers_are_marked(starter: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps({"prompt": "2 + 2?", "completion": "4"}) + "\n")
    (row,) = preview_data(tmp_path / "rows.jsonl", str(starter), 3)["rows"]
    assert row["text"].count("⟦") == 1
    assert "⟦4<|im_end|>" in row["text"]


def test_what_can_not_be_read_is_told_beside_the_others(starter: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"x": 1}\n' + json.dumps({"prompt": "2 + 2?", "completion": "4"}) + "\n")
    shown = preview_data(tmp_path / "rows.jsonl", str(starter), 3)
    assert len(shown["rows"]) == 1
    assert [error["where"] for error in shown["unreadable"]] == [f"{tmp_path / 'rows.jsonl'}:1"]
