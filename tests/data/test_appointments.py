"""The bundled task: repeatable, honest, and with nothing shared between its splits."""

from __future__ import annotations

import json
from itertools import combinations
from typing import Any

import pytest

from kitae.chat import Conversation
from kitae.data import overlap
from kitae.data.appointments import DAYS, SPLITS, TITLES, all_phrases, deal, rows, write_splits

DEALT = ("names", "surnames", "places", "place_words", "events", "event_words", "frames", "openers", "tails", "chatter")


@pytest.fixture(scope="module")
def made() -> dict[str, list[tuple[str, dict[str, Any]]]]:
    """1000 (message, answer) pairs a split."""
    parts = {}
    for split in SPLITS:
        messages: list[Any] = [row["messages"] for row in rows(split, 1000)]
        parts[split] = [(m[1]["content"], json.loads(m[2]["content"])) for m in messages]
    return parts


def test_the_same_arguments_give_the_same_rows() -> None:
    assert list(rows("train", 50, 3)) == list(rows("train", 50, 3))
    assert list(rows("train", 50, 3)) == list(rows("train", 80, 3))[:50]
    assert list(rows("train", 50, 3)) != list(rows("train", 50, 4))


@pytest.mark.parametrize("pool", DEALT)
def test_pools_are_dealt_out_without_overlap(pool: str) -> None:
    entries = [entry.casefold() for entry in all_phrases()[pool]]
    assert len(set(entries)) == len(entries)
    parts = {split: {entry.casefold() for entry in deal(all_phrases()[pool], split)} for split in SPLITS}
    assert set.union(*parts.values()) == set(entries)
    assert all(parts.values())
    for first, second in combinations(SPLITS, 2):
        assert not parts[first] & parts[second]


@pytest.mark.parametrize("slot", ["event", "who", "where"])
def test_no_value_is_met_in_two_splits(made: dict[str, list[tuple[str, dict[str, Any]]]], slot: str) -> None:
    values = {split: {a[slot].casefold() for _, a in pairs if a[slot]} for split, pairs in made.items()}
    for first, second in combinations(SPLITS, 2):
        assert not values[first] & values[second]


def test_only_training_rows_hold_words_of_no_pool(made: dict[str, list[tuple[str, dict[str, Any]]]]) -> None:
    known = {word for pool in all_phrases().values() for entry in pool for word in entry.casefold().split()}
    known |= {title.casefold() for title in TITLES}
    shares = {}
    for split, pairs in made.items():
        words = [word.casefold() for _, answer in pairs for word in (answer["who"] or "").split()]
        shares[split] = sum(word not in known for word in words) / len(words)
    assert shares["validation"] == shares["test"] == 0
    assert 0.2 < shares["train"] < 0.6


@pytest.mark.parametrize("split", SPLITS)
def test_answers_copy_what_the_message_says(made: dict[str, list[tuple[str, dict[str, Any]]]], split: str) -> None:
    for message, answer in made[split]:
        assert list(answer) == ["event", "who", "where", "day", "time"]
        assert answer["event"].lower() in message.lower()
        for slot in ("who", "where"):
            assert answer[slot] is None or answer[slot] in message
        forms = dict(DAYS).get(answer["day"], ("",))
        assert any(form.lower() in message.lower() for form in forms)


@pytest.mark.parametrize("split", SPLITS)
def test_no_row_comes_twice(made: dict[str, list[tuple[str, dict[str, Any]]]], split: str) -> None:
    assert len({message for message, _ in made[split]}) == len(made[split]) == 1000


def test_every_slot_is_sometimes_missing(made: dict[str, list[tuple[str, dict[str, Any]]]]) -> None:
    for slot in ("who", "where", "day", "time"):
        share = sum(answer[slot] is None for _, answer in made["train"]) / 1000
        assert 0.05 < share < 0.6


def test_splits_do_not_overlap() -> None:
    parts = {split: [Conversation.of(row["messages"]) for row in rows(split, 300)] for split in SPLITS}  # type: ignore[arg-type]
    for first, second in combinations(SPLITS, 2):
        found = overlap(parts[first], parts[second])
        assert not found.exact
        assert not found.near


def test_files(tmp_path: Any) -> None:
    paths = write_splits(tmp_path, {"train": 5, "test": 2})
    written = {split: path.read_text(encoding="utf-8").splitlines() for split, path in paths.items()}
    assert {split: len(lines) for split, lines in written.items()} == {"train": 5, "test": 2}
