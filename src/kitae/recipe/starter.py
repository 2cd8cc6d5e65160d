"""The commented recipe that `kitae recipe new` writes."""

from __future__ import annotations

from kitae.i18n import t
from kitae.recipe.schema import STARTER


def commented_recipe(name: str, train: str, source: str = STARTER) -> str:
    def note(key: str) -> str:
        return "# " + t(f"recipe.note.{key}")

    return f"""\
name: {name}
model:
  source: {source}  {note("source")}
data:
  {note("train")}
  train:
    - path: {train}
      licence: unknown
  {note("validation")}
  validation: {{fraction: 0.2}}
  {note("test")}
  # test: [{{path: test.jsonl}}]
train:
  method: lora  {note("method")}
  lora: {{r: 16, alpha: 32}}
  epochs: 2
  {note("batch")}
  batch_tokens: 2048
  early_stopping: {{patience: 3, min_delta: 0.001}}
  seed: 0
ship:
  gguf: [F16, Q4_K_M]
"""
