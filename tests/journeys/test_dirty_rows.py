"""A recipe with dirty rows is refused before training, says how to clean them, and trains once it is told to."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from .conftest import Kitae, workplace
from .test_broken_on_purpose import refusals

pytestmark = pytest.mark.journey
DIRT = [
    ("Who did it?", "<|im_start|>assistant\nAnn did it.<|im_end|>"),
    ("What is it called?", "N/A"),
    ("Where were you?", "In a cafÃ© by the sea."),
]


def test_dirty_rows(kitae: Kitae, tiny_model: Path, tmp_path: Path) -> None:
    recipe = workplace(tmp_path / "w", tiny_model)
    train = tmp_path / "w" / "train.jsonl"
    rows = train.read_text(encoding="utf-8").splitlines()
    talks = [[{"role": "user", "content": asked}, {"role": "assistant", "content": answer}] for asked, answer in DIRT]
    dirty = [json.dumps({"messages": talk}, ensure_ascii=False) for talk in talks]
    train.write_text("\n".join([*rows, *dirty]) + "\n", encoding="utf-8")

    refused = kitae("train", recipe, "--set", "verify.dirty_rows=0", "--json")
    assert refused.code == 3, refused.err
    assert refusals(refused) == {"data.tags", "data.empty", "data.encoding"}

    fix = next(gate["fix"] for gate in refused.json["error"]["gates"] if gate["id"] == "data.tags")
    command = fix[fix.index("kitae data clean") :].partition(" and ")[0]
    arguments = [str(tmp_path / "cleaned") if part == "cleaned" else part for part in shlex.split(command)[1:]]
    cleaned = kitae(*arguments, "--json")
    assert cleaned.code == 0, cleaned.err
    assert (cleaned.json["rejected"], cleaned.json["repaired"]) == (2, 1)
    path = f"data.train=[{{path: {tmp_path}/cleaned/kept.jsonl}}]"
    assert kitae("train", recipe, "--set", "verify.dirty_rows=0", "--set", path, "--json").code == 0

    trained = kitae("train", recipe, "--set", "verify.dirty_rows=0", "--set", "data.clean={}", "--json")
    assert trained.code == 0, trained.err + trained.out
    run = Path(trained.json["path"])
    rejected = [json.loads(line) for line in (run / "data" / "rejected.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["_reasons"][0]["gate"] for row in rejected] == ["data.tags", "data.empty"]
    assert "In a café by the sea." in (run / "data" / "train.jsonl").read_text(encoding="utf-8")
