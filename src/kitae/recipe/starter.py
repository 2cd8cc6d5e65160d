"""The commented recipe that `kitae recipe new` writes."""

from __future__ import annotations

import re

import yaml

from kitae.core.i18n import t
from kitae.recipe.schema import STARTER


def commented_recipe(name: str, train: str, source: str = STARTER) -> str:
    def note(key: str) -> str:
        return "# " + t(f"recipe.note.{key}")

    def scalar(text: str) -> str:
        return yaml.safe_dump([text], default_flow_style=True, allow_unicode=True, width=1 << 20).strip()[1:-1]

    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).lstrip("-_.")[:64] or "recipe"
    return f"""\
name: {scalar(name)}
model:
  source: {scalar(source)}  {note("source")}
data:
  {note("train")}
  train:
    - path: {scalar(train)}
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
