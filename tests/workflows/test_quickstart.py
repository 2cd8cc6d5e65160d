"""The quickstart fits itself to the machine; the journey itself is benchmarks/quickstart.py."""

from __future__ import annotations

import importlib
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from kitae.chat import Conversation
from kitae.core.errors import KitaeError, Refused
from kitae.data import appointments
from kitae.models import open_codec
from kitae.recipe import load_recipe
from kitae.train.speed import tokens_per_second
from tests.conftest import Tiny

quickstart = importlib.import_module("kitae.workflows.journey")
train_room = importlib.import_module("kitae.train")


@pytest.fixture
def recipe(tmp_path: Path, starter: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(quickstart, "computes_in_bf16", lambda _: False)  # which has less time
    appointments.write_splits(tmp_path, quickstart.ROWS)
    path = tmp_path / "recipe.yaml"
    path.write_text(quickstart._RECIPE.format(seed=0, prompts=48, rate=3e-3))
    return path


def chosen(recipe: Path, speed: float, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(train_room, "tokens_per_second", lambda *_: speed)
    return int(quickstart._rows_in_time(recipe, time.monotonic()))


def test_a_faster_machine_learns_from_more_rows(recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    speeds = (1.0, 180.0, 250.0, 1e6)
    rows = [chosen(recipe, speed, monkeypatch) for speed in speeds]
    assert rows == sorted(rows) and rows[0] == quickstart._FEWEST and rows[-1] == quickstart.ROWS["train"]
    assert rows[0] < rows[1] < rows[2] < rows[3]
    told = capsys.readouterr().err
    assert "--full" in told and f"{rows[1]} of {rows[-1]} rows" in told


def test_more_rows_are_learned_in_smaller_steps() -> None:
    assert quickstart._rate(300) == quickstart._rate(600) == 3e-3
    assert 1.5e-3 < quickstart._rate(2200) < 1.6e-3


def test_time_that_is_gone_is_taken_off(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_room, "tokens_per_second", lambda *_: 250.0)
    now = time.monotonic()
    early, late = (quickstart._rows_in_time(recipe, now - gone) for gone in (0, 60))
    assert late < early


def test_speed_is_measured(tiny_llama: Tiny, recipe: Path) -> None:
    folder = tiny_llama()
    rows = [Conversation.of(row["messages"]) for row in appointments.rows("train", 40)]
    found = tokens_per_second(folder, open_codec(folder), rows, load_recipe(recipe).train)
    assert 10 < found < 1e7


def test_little_disk_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2**29))
    with pytest.raises(KitaeError) as raised:
        quickstart._prepare(tmp_path / "quickstart")
    assert raised.value.kind == "little-disk" and "0.5" in raised.value.message


@pytest.mark.parametrize(("stage", "asked"), [("quant", [(), ("F16", "Q8_0")]), ("hf", [()])])
def test_a_model_for_which_four_bits_are_too_few(monkeypatch: pytest.MonkeyPatch, stage: str, asked: list[object]) -> None:
    tried: list[object] = []

    def ship(run: str, quants: tuple[str, ...] = ()) -> dict[str, object]:
        tried.append(quants)
        if not quants:
            raise Refused("refused-gate", [{"id": f"{stage}.task", "stage": stage}], why="exact match 160 → 149")
        return {"verdict": "ship"}

    monkeypatch.setattr(quickstart, "ship", ship)
    if stage == "quant":
        assert quickstart._shipped("run")["verdict"] == "ship"
    else:
        with pytest.raises(Refused):
            quickstart._shipped("run")
    assert tried == asked
