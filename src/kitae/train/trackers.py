"""Trackers write where they are told to by the environment: by default into the folder of checkpoints, which doesn't stay."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from kitae.core import paths


@contextlib.contextmanager
def trackers_in(folder: Path) -> Iterator[None]:
    """While a run goes on, into its folder, unless the user has said where. Nothing is sent where no network may be used."""
    wanted = {
        "TENSORBOARD_LOGGING_DIR": str(folder / "tensorboard"),
        "WANDB_DIR": str(folder),
        "MLFLOW_TRACKING_URI": f"file://{folder / 'mlflow'}",
        "TRACKIO_DIR": str(folder / "trackio"),
        **({"WANDB_MODE": "offline"} if paths.offline() else {}),
    }
    ours = {name: place for name, place in wanted.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            del os.environ[name]
