"""Checkpoints in a run's folder, and whether their files are whole."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from safetensors import safe_open

from kitae.core.errors import first_line

PREFIX = "checkpoint-"


def checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """Whole checkpoints, oldest first."""
    if not folder.exists():
        return []
    found = [(int(p.name[len(PREFIX) :]), p) for p in folder.glob(f"{PREFIX}*") if p.name[len(PREFIX) :].isdigit()]
    return sorted(found)


def damaged(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint's files, if something is."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
        weights = list(checkpoint.glob("*.safetensors"))
        for file in weights:
            with safe_open(file, framework="pt") as opened:
                opened.keys()
        for file in [checkpoint / "optimizer.pt", checkpoint / "scheduler.pt", *checkpoint.glob("rng_state*.pth")]:
            with zipfile.ZipFile(file) as packed:  # as torch writes; each part has a sum to compare with
                if broken := packed.testzip():
                    return f"{file.name}: {broken}"
        return None if weights else "*.safetensors"
    except Exception as error:  # each of these readers has errors of its own
        return first_line(error)[:120]


def damaged_best(checkpoint: Path) -> str | None:
    """The same of the one with the best weights so far, which come back at the end."""
    best = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))["best_model_checkpoint"]
    if best is None:
        return None
    damage = damaged(checkpoint.parent / Path(best).name)
    return None if damage is None else f"{Path(best).name}: {damage}"
