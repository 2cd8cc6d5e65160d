"""The registry of gates is what reports, skips and documents go by."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from kitae.core.i18n import catalogue
from kitae.verify.registry import GATES, REGISTRY, SKIPS, When, compared_in, gates_of, needs_answers

DOCS = Path(__file__).parents[2] / "docs" / "gates.md"


def test_each_gate_stands_once_and_has_its_moment() -> None:
    assert len(set(GATES)) == len(GATES)
    assert sorted(gates_of(*get_args(When))) == sorted(GATES)
    assert {gate.when for gate in REGISTRY} == set(get_args(When))


def test_each_gate_is_documented() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert [gate for gate in GATES if f"`{gate}`" not in text] == []


def test_each_reason_to_skip_has_its_sentence() -> None:
    said = {key.removeprefix("gate.skip.") for key in catalogue() if key.startswith("gate.skip.")}
    assert said == set(SKIPS)


def test_what_a_gate_needs() -> None:
    assert needs_answers({"hf.stops"}) and not needs_answers({"gguf.tokens", "merge.complete"})
    assert set(compared_in("folder")) == {"hf.task"}
