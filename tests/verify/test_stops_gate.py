"""A gate that refuses is sure; one that can't be sure says so."""

from __future__ import annotations

import pytest

from kitae.evaluate.observe import Job, Observation
from kitae.generate import Completion
from kitae.recipe import Thresholds
from kitae.verify.behaviour import stops


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
    seen = Observation(Job("x"), {}, [], [], None, answers(*greedy), answers(*sampled), 1.0)
    found = stops(gate, seen, Thresholds())
    assert found.verdict == verdict, found.evidence
    assert found.why("en") and found.why("ja") and bool(found.fix()) == (verdict != "pass")
