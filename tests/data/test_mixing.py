"""Samples and weights of sources: after the split, by what rows say, the same every time."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from kitae.data import Rows
from kitae.recipe import Source


def source(path: Path, name: str, count: int, **more: object) -> Source:
    rows = [{"prompt": f"What is {name} number {i}?", "completion": f"{name} {i * i}"} for i in range(count)]
    (path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Source.model_validate({"path": str(path / f"{name}.jsonl"), **more})


def names(rows: Rows) -> Counter[str]:
    return Counter(row.answer.split()[0] for row in rows.train)


def test_samples(tmp_path: Path) -> None:
    whole = Rows.gather([source(tmp_path, "a", 100)], [], [], seed=3)
    some = Rows.gather([source(tmp_path, "a", 100, sample=30)], [], [], seed=3)
    again = Rows.gather([source(tmp_path, "a", 100, sample=30)], [], [], seed=3)
    other = Rows.gather([source(tmp_path, "a", 100, sample=30)], [], [], seed=4)
    assert len(some.train) == 30 and some.train == again.train != other.train
    order = [row.source for row in whole.train]
    assert [order.index(row.source) for row in some.train] == sorted(order.index(row.source) for row in some.train)
    assert some.train != whole.train[:30]
    assert len(Rows.gather([source(tmp_path, "a", 10, sample=30)], [], [], seed=3).train) == 10


def test_weights(tmp_path: Path) -> None:
    sources = [source(tmp_path, "a", 400, weight=0.25), source(tmp_path, "b", 100, weight=2.5), source(tmp_path, "c", 50)]
    found = names(Rows.gather(sources, [], [], seed=0))
    assert 70 < found["a"] < 130 and 225 < found["b"] < 275 and found["c"] == 50


def test_rows_are_repeated_after_the_split_only(tmp_path: Path) -> None:
    rows = Rows.gather([source(tmp_path, "a", 50, weight=3)], 0.2, [], seed=0)
    assert len(rows.validation) == 10 and len(rows.train) == 120
    assert not {row.source for row in rows.validation} & {row.source for row in rows.train}


def test_saved_and_read_again(tmp_path: Path) -> None:
    rows = Rows.gather([source(tmp_path, "a", 20, weight=2)], 0.2, [], seed=0)
    rows.save(tmp_path / "rows")
    assert Rows.load(tmp_path / "rows").train == rows.train


def test_drawing_for_one_purpose_says_nothing_of_another(tmp_path: Path) -> None:
    """What is learned half as often is not what was drawn first."""
    rows = Rows.gather([source(tmp_path, "a", 200, sample=100, weight=0.5)], [], [], seed=3)
    assert 30 < len(rows.train) < 70
