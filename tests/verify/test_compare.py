"""Divergence counts what is really different, and nothing that rounding alone decides."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kitae.models import Target
from kitae.verify.compare import divergence
from kitae.verify.observe import Job, Observation

_RNG = np.random.default_rng(0)
_LOGITS = _RNG.normal(size=(200, 50)).astype(np.float32) * 3
_TARGETS = _RNG.integers(0, 50, size=200)


def test_the_same_logits_do_not_diverge() -> None:
    found = divergence(_LOGITS, _LOGITS, _TARGETS)
    assert (found.mean, found.maximum, found.top1, found.tokens) == (0.0, 0.0, 1.0, 200)


@pytest.mark.parametrize(("gap", "agreement"), [(1e-5, 1.0), (0.01, 1.0), (0.05, 0.0)])
def test_only_a_gap_that_rounding_cannot_make_is_a_disagreement(gap: float, agreement: float) -> None:
    first, other = _LOGITS.copy(), _LOGITS.copy()
    first[:, 0] = first[:, 1] = other[:, 0] = other[:, 1] = 20.0
    first[:, 0] += gap
    other[:, 1] += gap
    assert divergence(first, other, _TARGETS).top1 == agreement


def test_another_choice_is_a_disagreement() -> None:
    other = _LOGITS.copy()
    best = np.sort(other[0])[-2:]
    other[0, other[0].argmax()] = best[0] - 0.1
    assert divergence(_LOGITS, other, _TARGETS).top1 == pytest.approx(199 / 200)
    assert divergence(_LOGITS, other, _TARGETS).mean > 0


def test_one_side_may_pad_its_vocabulary() -> None:
    padded = np.concatenate([_LOGITS, np.full((200, 14), 99.0, dtype=np.float32)], axis=1)
    assert divergence(_LOGITS, padded, _TARGETS).maximum == 0.0


def test_a_file_is_read_in_parts_and_not_held(tmp_path: Path) -> None:
    np.save(tmp_path / "logits.npy", _LOGITS)
    read = Observation(Job(Target(Path())), {}, [], [], tmp_path / "logits.npy", [], [], 0.0).row_logits()
    assert read.shape == _LOGITS.shape
    for part in (slice(0, 128), slice(128, 999), slice(7, 8)):
        assert (read[part] == _LOGITS[part]).all()
    assert divergence(read, _LOGITS, _TARGETS).maximum == 0.0
    large = np.lib.format.open_memmap(tmp_path / "large.npy", "w+", np.float32, (2_000, 50_000))
    large[:] = 0.0
    large.flush()
    del large
    program = (
        "import sys, psutil, numpy as np; from pathlib import Path\n"
        "from kitae.verify.observe import Job, Observation; from kitae.verify.compare import log_likelihoods\n"
        "from kitae.models import Target\n"
        "held = lambda: psutil.Process().memory_info().rss // 2**20\n"
        "seen = Observation(Job(Target(Path())), {}, [], [], Path(sys.argv[1]), [], [], 0.0).row_logits()\n"
        "before = held(); log_likelihoods(seen, np.zeros(2_000, dtype=np.int64)); print(held() - before)"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path / "large.npy"], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100  # of 400 MB
