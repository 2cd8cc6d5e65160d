"""What `recipe check` promises before anything is loaded."""

from __future__ import annotations

import json
from pathlib import Path

from kitae.api.estimate import estimate
from kitae.api.vocabulary import train_tokenizer
from kitae.recipe import load_recipe

RECIPE = """\
name: small
model: {source: new, new: {arch: newllm, tokenizer: tokenizer, hidden_size: 16}}
data: {train: [{path: train.jsonl}], validation: [{path: held_out.jsonl}]}
train: {method: full, epochs: 1}
"""


def test_a_model_that_multiplies_little_takes_time_too(tmp_path: Path) -> None:
    for name, rows in (("train", 400), ("held_out", 20)):
        lines = [json.dumps({"text": f"{name} {number} " + "and so on " * 100}) for number in range(rows)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    train_tokenizer([tmp_path / "train.jsonl"], tmp_path / "tokenizer", size=262)
    found = estimate(load_recipe(tmp_path / "recipe.yaml"))
    assert found["parameters"] < 20_000
    assert 120_000 < found["tokens"] < 130_000
    assert found["minutes"] >= 0.2
