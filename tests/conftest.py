"""One cache of imported models for all tests, a home of its own for each."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("KITAE_CACHE", str(ROOT / ".cache" / "kitae-tests"))
os.environ["KITAE_LANG"] = "en"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side; threads that wait in circles take the others' cores

STARTER = "smollm2-135m-instruct"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    monkeypatch.setenv("KITAE_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def starter() -> Path:
    from kitae.models import locate

    return locate(STARTER)


@pytest.fixture(scope="session")
def codec(starter: Path):
    from kitae.models import open_codec

    return open_codec(starter)
