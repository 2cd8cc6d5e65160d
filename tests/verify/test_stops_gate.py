"""A gate that refuses is sure; one that can't be sure says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from kitae.generate import Completion
from kitae.models import Target
from kitae.recipe import Thresholds
from kitae.verify.behaviour import loops_off_task, rambles, stops, stops_like
from kitae.verify.observe import Job, Observation


def answers(stopped: int, total: int) -> list[Completion]:
    return [Completion("x", (1,), "stop" if number < stopped else "length") for number in range(total)]


@pytest.mark.parametrize(
    ("greedy", "sampled", "verdict"),
    [
        ((48, 48), (16, 16), "pass"),
        ((46, 48), (16, 16), "pass"),
        ((48, 48), (15, 16), "warn"),
        ((44, 48), (16, 16), "warn"),
        ((48, 48), (12, 16), "refuse"),
        ((40, 48), (16, 16), "refuse"),
        ((18, 48), (15, 16), "refuse"),
        ((6, 8), (0, 0), "refuse"),
        ((7, 8), (0, 0), "warn"),
    ],
)
@pytest.mark.parametrize("gate", ["hf.stops", "gguf.stops", "quant.stops"])
def test_too_few_to_tell_is_a_warning(gate: str, greedy: tuple[int, int], sampled: tuple[int, int], verdict: str) -> None:
    seen = Observation(Job(Target(Path("x"))), {}, [], [], None, answers(*greedy), answers(*sampled), 1.0)
    found = stops(gate, seen, Thresholds())
    assert found.verdict == verdict, found.evidence
    assert found.why("en") and found.why("ja") and bool(found.fix()) == (verdict != "pass")


def seen(stopped: int, total: int) -> Observation:
    return Observation(Job(Target(Path("x"))), {}, [], [], None, answers(stopped, total), [], 1.0)


@pytest.mark.parametrize(
    ("before", "now", "verdict", "case"),
    [
        (8, 6, "warn", "unsure"),
        (8, 8, "warn", "as-before"),
        (12, 12, "pass", "pass"),
        (12, 8, "warn", "unsure"),
        (12, 7, "refuse", "stops-less"),
        (8, 0, "refuse", "stops-less"),
    ],
)
@pytest.mark.parametrize("gate", ["gguf.stops", "quant.stops"])
def test_two_forms_are_asked_the_same(gate: str, before: int, now: int, verdict: str, case: str) -> None:
    found = stops_like(gate, seen(before, 12), seen(now, 12))
    assert (found.verdict, found.case) == (verdict, case), found.evidence
    assert "p = " in found.evidence[0]


def test_a_model_alone_may_ramble() -> None:
    found = rambles("hf.stops", seen(2, 12), Thresholds())
    assert (found.verdict, found.case) == ("warn", "off-task") and "2 of 12" in found.evidence[0]
    endless = [Completion("x", (1,) * 200, "length")] * 12
    looping = Observation(Job(Target(Path("x"))), {}, [], [], None, endless, [], 1.0)
    assert loops_off_task("hf.loops", looping, Thresholds()).verdict == "warn"
