"""Parts in files: what belongs together stays together, none is lost, and the proof measures what is written."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from kitae.core.errors import InputError
from kitae.data import Shares, partition
from kitae.workflows.cleaning import split_data

PARTS = ("train", "validation", "test")
DOCUMENT = "The lighthouse of {0} was built in {1} by people who feared the rocks of {0}, and for {1} days it has been lit " + (
    "every single evening by the same family, who live in a small white house below it with a garden."
)


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def read(folder: Path) -> dict[str, list[dict[str, Any]]]:
    found = {}
    for name in (*PARTS, "rejected"):
        path = folder / f"{name}.jsonl"
        found[name] = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return found


NAMES = [f"{a}{b}{c}" for a in "BDFGKLMN" for b in "aeiou" for c in ("rin", "lot", "mesk", "dav")]


def rows(count: int = 120) -> list[dict[str, Any]]:
    """Different questions, two answers each, of three kinds."""
    return [
        {"instruction": f"Who was {NAMES[i // 2]}, and what did they do for {NAMES[-1 - i // 2]}?",
         "output": f"{'First' if i % 2 else 'Some'} say {NAMES[(i * 7) % 160]} {NAMES[(i * 11) % 160]} {i * 13}.",
         "kind": "abc"[(i // 2) % 3], "id": i}
        for i in range(count)
    ]  # fmt: skip


def test_all_rows_are_dealt_and_questions_stay_together(tmp_path: Path) -> None:
    made = rows()
    report = split_data([written(tmp_path / "in.jsonl", made)], tmp_path / "out", Shares(0.2, 0.1))
    parts = read(tmp_path / "out")
    assert sorted(row["id"] for part in PARTS for row in parts[part]) == list(range(120))
    asked = [{row["instruction"] for row in parts[part]} for part in PARTS]
    assert not (asked[0] & asked[1] or asked[0] & asked[2] or asked[1] & asked[2])
    assert [len(parts[part]) for part in PARTS] == [84, 24, 12]
    assert report["proven"] and report["parts"] == {"train": 84, "validation": 24, "test": 12} and report["groups"] == 60


def test_no_test_unless_asked(tmp_path: Path) -> None:
    split_data([written(tmp_path / "in.jsonl", rows())], tmp_path / "out", Shares(0.2))
    assert not (tmp_path / "out" / "test.jsonl").exists()


def test_duplicates_go_first_and_are_told(tmp_path: Path) -> None:
    made = rows()
    twins = [{**row, "output": row["output"].upper() + " ", "id": row["id"] + 1000} for row in made[:9]]
    report = split_data([written(tmp_path / "in.jsonl", [*made, *twins])], tmp_path / "out", Shares(0.2))
    parts = read(tmp_path / "out")
    assert sorted(row["id"] for row in parts["rejected"]) == list(range(1000, 1009))
    assert all(row["_reasons"][0]["gate"] == "data.duplicates" for row in parts["rejected"])
    assert report["rows"] == sum(report["parts"].values()) + report["rejected"]


def test_rows_about_one_document_stay_together(tmp_path: Path) -> None:
    made = [
        {
            "instruction": f"What about {NAMES[i]} here?",
            "input": DOCUMENT.format(NAMES[i // 8], 1000 + i // 8),
            "output": NAMES[-i - 1],
        }
        for i in range(80)
    ]
    split_data([written(tmp_path / "in.jsonl", made)], tmp_path / "out", Shares(0.3))
    parts = read(tmp_path / "out")
    documents = [{row["input"] for row in parts[part]} for part in ("train", "validation")]
    assert documents[0] and documents[1] and not documents[0] & documents[1]


def test_dialogues_with_the_same_beginning_stay_together(tmp_path: Path) -> None:
    made = [
        {"messages": [{"role": "user", "content": f"Tell me of {NAMES[i // 4]}"}, {"role": "assistant", "content": NAMES[i]},
                      {"role": "user", "content": f"And of {NAMES[-i - 1]}?"}, {"role": "assistant", "content": NAMES[i + 20]}]}
        for i in range(80)
    ]  # fmt: skip
    split_data([written(tmp_path / "in.jsonl", made)], tmp_path / "out", Shares(0.3))
    begun = [{row["messages"][0]["content"] for row in part} for part in (read(tmp_path / "out")[name] for name in PARTS[:2])]
    assert begun[0] and begun[1] and not begun[0] & begun[1]


def test_rows_that_the_proof_calls_alike_stay_together(tmp_path: Path) -> None:
    """Questions that differ in a number are no duplicates, but no test of what was learned either."""
    text = (
        "Compute the sum of all the prices in the long list of {} apples, pears and plums that were sold on the market today "
        + ("by the farmers of the valley, who came early in the morning with their carts and left again late in the evening")
    )
    made = [{"instruction": text.format(i), "output": f"It is {i}."} for i in range(12)]
    report = split_data([written(tmp_path / "in.jsonl", [*made, *rows()])], tmp_path / "out", Shares(0.3))
    assert report["proven"]
    held = [
        sum("apples" in row["instruction"] for row in part) for part in (read(tmp_path / "out")[name] for name in PARTS[:2])
    ]
    assert sorted(held) == [0, 12]


def test_by_a_field_and_by_file(tmp_path: Path) -> None:
    source = written(tmp_path / "in.jsonl", [{**row, "author": row["id"] % 10} for row in rows()])
    split_data([source], tmp_path / "out", Shares(0.3, by="author"))
    authors = [{row["author"] for row in part} for part in (read(tmp_path / "out")[name] for name in PARTS[:2])]
    assert authors[0] and authors[1] and not authors[0] & authors[1]
    for i in range(4):
        written(tmp_path / f"part{i}.jsonl", rows()[i * 30 : i * 30 + 30])
    split_data([tmp_path / f"part{i}.jsonl" for i in range(4)], tmp_path / "files", Shares(0.25, by="source"))
    assert [len(read(tmp_path / "files")[name]) for name in PARTS[:2]] == [90, 30]


def test_stratified(tmp_path: Path) -> None:
    made = [row for row in rows(160) if row["kind"] != "c" or row["id"] % 4 < 2]
    split_data([written(tmp_path / "in.jsonl", made)], tmp_path / "out", Shares(0.25, stratify="kind"))
    parts = read(tmp_path / "out")
    whole, held = (Counter(row["kind"] for row in found) for found in (made, parts["validation"]))
    assert all(abs(held[kind] - 0.25 * whole[kind]) <= 2 for kind in "abc")


def test_order_of_rows_and_seed(tmp_path: Path) -> None:
    made = rows()
    split_data([written(tmp_path / "a.jsonl", made)], tmp_path / "a", Shares(0.2))
    split_data([written(tmp_path / "b.jsonl", made[::-1])], tmp_path / "b", Shares(0.2))
    split_data([tmp_path / "a.jsonl"], tmp_path / "c", Shares(0.2, seed=1))
    held = [{row["id"] for row in read(tmp_path / name)["validation"]} for name in "abc"]
    assert held[0] == held[1] != held[2]


def test_the_proof_is_measured_not_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows dealt without care are found out."""
    module = __import__("sys").modules[partition.__module__]
    monkeypatch.setattr(module, "_without_twins", lambda rows, near: (rows, []))
    even_and_odd = {name: list(range(i, 40, 2)) for i, name in enumerate(("train", "validation"))}
    monkeypatch.setattr(module, "dealt", lambda *_: even_and_odd)
    made = [{**row, "output": "The same."} for row in rows(40)]
    report = split_data([written(tmp_path / "in.jsonl", made)], tmp_path / "out", Shares(0.5))
    assert not report["proven"] and report["proof"]["validation/train"]["same"] > 0


@pytest.mark.parametrize(
    "shares",
    [Shares(0.5, 0.6), Shares(0.2, by="nothing"), Shares(0.2, stratify="nothing"), Shares(0.0), Shares(0.2, by="kind2")],
)
def test_what_can_not_be_split(tmp_path: Path, shares: Shares) -> None:
    with pytest.raises(InputError):
        split_data([written(tmp_path / "in.jsonl", rows())], tmp_path / "out", shares)
    assert not (tmp_path / "out").exists()


def test_one_group_can_not_be_split(tmp_path: Path) -> None:
    made = [{**row, "instruction": "Say it."} for row in rows(10)]
    with pytest.raises(InputError, match="too little"):
        split_data([written(tmp_path / "in.jsonl", made)], tmp_path / "out", Shares(0.2))


def test_files_of_every_kind_stay_together(tmp_path: Path) -> None:
    for i in range(4):
        (tmp_path / f"part{i}.json").write_text(json.dumps(rows()[i * 30 : i * 30 + 30]))
    split_data([tmp_path / f"part{i}.json" for i in range(4)], tmp_path / "out", Shares(0.25, by="source"))
    assert [len(read(tmp_path / "out")[name]) for name in PARTS[:2]] == [90, 30]


def test_large_groups_do_not_stand_in_the_way(tmp_path: Path) -> None:
    large = [{**row, "instruction": f"Say number {row['id'] % 5} in words."} for row in rows(100)]
    small = [{**row, "id": row["id"] + 1000} for row in rows(160)[120:160:2]]
    for seed in range(6):
        out = tmp_path / f"out{seed}"
        report = split_data([written(tmp_path / "in.jsonl", [*large, *small])], out, Shares(0.05, seed=seed))
        assert report["parts"]["validation"] >= 3
