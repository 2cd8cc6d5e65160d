"""`kitae quickstart`: the whole journey on the starter model and the bundled task."""

from __future__ import annotations

import time
from pathlib import Path

from kitae import paths
from kitae.api.shipping import ship
from kitae.api.training import train
from kitae.console import console
from kitae.data.appointments import write_splits
from kitae.files import JsonDict, write_text
from kitae.i18n import t

ROWS = {"train": 2200, "validation": 64, "test": 200}

_RECIPE = """\
# The bundled task: a short message becomes an appointment as JSON. Test rows share no name, place, event or wording
# with training rows.
name: appointments
model: {{source: smollm2-135m-instruct, max_length: 512}}
data:
  train: [{{path: train.jsonl, licence: CC0-1.0}}]
  validation: [{{path: validation.jsonl, licence: CC0-1.0}}]
  test: [{{path: test.jsonl, licence: CC0-1.0}}]
train:
  method: lora
  lora: {{r: 16, alpha: 32}}
  epochs: 1
  learning_rate: 3.0e-3
  batch_tokens: 700
  evaluations: 2
  seed: {seed}
evaluate: {{suites: [exact_match], prompts: {prompts}, rows: 24, max_new_tokens: 96}}
ship: {{gguf: [F16, Q4_K_M]}}
"""


def quickstart(out: Path | None = None, seed: int = 0, prompts: int = 48) -> JsonDict:
    """Writes data and recipe to `out`, trains, proves, ships. `prompts`: how many test messages are answered."""
    began = time.monotonic()
    folder = out or paths.home() / "quickstart"
    console.say(t("say.quickstart", folder=folder))
    write_splits(folder, ROWS)
    recipe = folder / "recipe.yaml"
    write_text(recipe, _RECIPE.format(seed=seed, prompts=prompts))
    run = str(train(recipe)["run"])
    report = ship(run)
    return {
        "verdict": report["verdict"],
        "run": run,
        "package": report["package"],
        "table": report["table"],
        "gates": report["gates"],
        "seconds": round(time.monotonic() - began, 1),
    }
