"""Pairs of models that are verified in this process: opening them in fresh ones is what tests/journeys does."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from kitae.verify import Gate, exam as examining, observe as observing, verify_target
from kitae.verify.observe import Job, Observation

from ..conftest import Tiny


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Observations are made without a fresh process."""

    def observe(job: Job, folder: Path) -> Observation:
        folder.mkdir(parents=True, exist_ok=True)
        return observing._look(job, folder)

    monkeypatch.setattr(examining, "observe", observe)


@pytest.fixture(scope="session")
def good(tiny_llama: Tiny) -> Path:
    folder = tiny_llama(tokens=8192, max_position_embeddings=2048)
    tensors = load_file(folder / "model.safetensors")
    for name in tensors:
        if "q_proj" in name or "k_proj" in name:
            tensors[name] *= 20  # so that it matters where a token stands
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture
def copy(good: Path, tmp_path: Path) -> Path:
    """Of the good folder, to be broken."""
    folder = tmp_path / "copy"
    shutil.copytree(good, folder)
    return folder


Verify = Callable[..., dict[str, Gate]]


@pytest.fixture
def verify(here: None) -> Verify:
    def found(target: Path, against: Path | None = None, only: tuple[str, ...] = ()) -> dict[str, Gate]:
        verdict = verify_target(str(target), str(against) if against else None, only)
        return {gate.id: gate for gate in verdict.gates} | {"verdict": verdict.verdict}  # type: ignore[dict-item]

    return found
