"""What `recipe check` promises before anything is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from kitae.api.estimate import estimate
from kitae.api.vocabulary import train_tokenizer
from kitae.errors import InputError
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


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """Of the starter model, with rows of 2,000 characters."""
    for name in ("train", "held_out"):
        chats = [
            [{"role": "user", "content": f"{name} {i}"}, {"role": "assistant", "content": "word " * 400}] for i in range(40)
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats))
    path = tmp_path / "recipe.yaml"
    path.write_text("name: large\ndata: {train: [{path: train.jsonl}], validation: [{path: held_out.jsonl}]}\n")
    return path


FULL = ("train.method=full", "train.batch_tokens=8192", "train.micro_batch_tokens=8192")


@pytest.mark.parametrize(
    "changes", [(), FULL, ("train.method=dora", "train.batch_tokens=8192", "train.micro_batch_tokens=8192")]
)
def test_what_cannot_fit_is_refused_with_settings_that_do(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, changes: tuple[str, ...]
) -> None:
    needed = estimate(load_recipe(recipe, changes))["memory_mb"]

    def free(megabytes: float) -> None:
        monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=megabytes * 1e6))

    free(needed + 1)
    estimate(load_recipe(recipe, changes))
    free(needed * 0.95)
    with pytest.raises(InputError) as caught:
        estimate(load_recipe(recipe, changes))
    assert caught.value.kind == "too-large"
    named = [part.split(" ")[0] for part in caught.value.why.split("; ")]
    assert named
    assert ("train.method=lora" in named) == (changes == FULL)
    for setting in named:
        estimate(load_recipe(recipe, [*changes, setting]))
    free(100)
    with pytest.raises(InputError) as caught:
        estimate(load_recipe(recipe, changes))
    assert not caught.value.why


def test_every_method_holds_more_than_lora(recipe: Path) -> None:
    lora, dora, full = (estimate(load_recipe(recipe, [f"train.method={m}"]))["memory_mb"] for m in ("lora", "dora", "full"))
    assert lora < dora < full
    assert estimate(load_recipe(recipe, ["train.lora={dropout: 0.1}"]))["memory_mb"] == dora
