"""What a recipe wants, before it is trained."""

from __future__ import annotations

from typing import TypedDict


class Estimate(TypedDict):
    name: str
    model: str
    parameters: int
    rows: int
    validation: int
    duplicates: int
    tokens: int
    memory_mb: int
    micro_batch_tokens: int
    minutes: float
    minutes_asking: float
    minutes_training: float
    minutes_proof: float
    spelled: dict[str, float]
    system: str
