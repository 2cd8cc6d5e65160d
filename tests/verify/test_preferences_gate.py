"""What is said of a model that learned from preferences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kitae.models import Target
from kitae.recipe import Thresholds
from kitae.verify.behaviour import improved
from kitae.verify.observe import Job, Observation

PAIRS = 12


def seen(folder: Path, name: str, better: float, worse: float) -> Observation:
    """Each answer is one token, of which a model says with what probability it comes."""
    logits = np.zeros((2 * PAIRS, 3), dtype=np.float32)
    for row in range(2 * PAIRS):
        share = (better, worse)[row % 2] * (1 + 0.01 * (row // 2 % 3))
        logits[row] = np.log([(1 - share) / 2, share, (1 - share) / 2])
    np.save(folder / f"{name}.npy", logits)
    job = Job(Target(Path(name)), sequences=[[0, 1]] * (2 * PAIRS), starts=[0] * (2 * PAIRS))
    return Observation(job, {}, [], [], folder / f"{name}.npy", [], [], 0.0)


@pytest.mark.parametrize(
    ("better", "worse", "verdict", "case"),
    [
        (0.4, 0.1, "pass", "pass"),
        (0.2, 0.01, "warn", "both-unlikely"),
        (0.3, 0.3, "refuse", "no-better"),
        (0.4, 0.6, "refuse", "no-better"),
    ],
)
def test_better_answers_gain_and_stay_likely(tmp_path: Path, better: float, worse: float, verdict: str, case: str) -> None:
    base, now = seen(tmp_path, "base", 0.3, 0.29), seen(tmp_path, "now", better, worse)
    gate = improved(base, now, [], False, Thresholds(), preferences=True)
    assert (gate.verdict, gate.case) == (verdict, case)
