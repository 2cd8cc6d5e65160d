"""Weights in bf16 are told of as what they are, whichever of the limits they miss."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kitae.models import Target
from kitae.recipe import Thresholds
from kitae.verify.equal import equivalent
from kitae.verify.observe import LONG_TAIL, Job, Observation

ROWS = 200
LIMITS = Thresholds(equivalent_kld=1e-2)  # so that a swapped token alone misses the other limit


def seen(folder: Path, name: str, swapped: int, far: int) -> Observation:
    """`swapped`, `far`: of how many tokens another one is the likeliest, near the beginning and at the end of a long text."""
    files = []
    for part, count, rows in (("near", swapped, ROWS), ("long", far, LONG_TAIL)):
        logits = np.zeros((rows, 8), np.float32)
        logits[:, 0], logits[:, 1] = 0.05, 0.0
        logits[:count, 1] = 0.1
        files.append(folder / f"{name}-{part}.npy")
        np.save(files[-1], logits)
    job = Job(Target(Path("x")), sequences=[[0] * (ROWS + 1)], starts=[0], long=[0] * 200)
    facts = {"context": None}
    return Observation(job, facts, [], [], files[0], [], [], 0.0, files[1])


@pytest.mark.parametrize(("swapped", "far"), [(2, 0), (0, 2)])
@pytest.mark.parametrize(("rounded", "verdict"), [(True, "warn"), (False, "refuse")])
def test_another_likeliest_token_is_no_pass(tmp_path: Path, swapped: int, far: int, rounded: bool, verdict: str) -> None:
    ours, theirs = seen(tmp_path, "ours", 0, 0), seen(tmp_path, "theirs", swapped, far)
    assert equivalent("merge.equivalent", ours, theirs, LIMITS, rounded).verdict == verdict
    assert equivalent("merge.equivalent", ours, ours, LIMITS, rounded).verdict == "pass"
