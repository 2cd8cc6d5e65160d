"""`kitae.train` in Python."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

import kitae
import kitae.core.hardware
from kitae.core.errors import InputError, RecipeError
from kitae.recipe import parse_recipe
from kitae.train import checks
from kitae.workflows import check_recipe


def test_settings_beside_a_recipe_are_read() -> None:
    recipe = parse_recipe("name: a\ndata: {train: [{path: nowhere.jsonl}]}\n", "recipe.yaml")
    with pytest.raises(RecipeError) as caught:
        kitae.train(recipe, overrides=["train.method=qlora", "train.shard=true"])
    assert "train.shard" in caught.value.why


def test_kernels_that_can_not_run_here_are_told_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chats = [[{"role": "user", "content": f"say {i}"}, {"role": "assistant", "content": f"{i}"}] for i in range(40)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats))
    (tmp_path / "recipe.yaml").write_text("name: a\ndata: {train: [{path: rows.jsonl}]}\ntrain: {kernels: liger}\n")
    monkeypatch.setattr(kitae.core.hardware, "_GPUS", ())
    for found in (None, True):  # no package makes up for a GPU
        monkeypatch.setattr(importlib.util, "find_spec", lambda name, found=found: found)
        with pytest.raises(InputError) as caught:
            kitae.train(tmp_path / "recipe.yaml")
        assert caught.value.kind == "kernels-gpu"


@pytest.mark.parametrize(
    ("settings", "package"),
    [
        (["train.method=qlora"], "bitsandbytes"),
        (["train.report_to=[tensorboard]"], "tensorboardX"),
        (["train.kernels=liger"], "liger-kernel"),
    ],
)
def test_a_package_that_is_not_there_is_named_with_the_command_before_rows_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: list[str], package: str
) -> None:
    recipe = parse_recipe("name: a\ndata: {train: [{path: nowhere.jsonl}]}\n", "recipe.yaml", settings)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(checks, "has_gpu", lambda: True)
    with pytest.raises(InputError) as caught:
        check_recipe(recipe)
    assert (caught.value.kind, f"pip install {package};" in caught.value.fix) == ("package-missing", True)
