"""Batches by token budget, the loss, the trainer."""

from kitae.callable import make_callable
from kitae.train.batches import IGNORED, MicroBatch, Plan, Step, collate, in_batches
from kitae.train.manifest import ingredients, manifest
from kitae.train.prepare import SOFT_PROMPT_START, CollatedRow, Prepared, check_positions, prepare

__all__ = [
    "IGNORED",
    "SOFT_PROMPT_START",
    "CollatedRow",
    "MicroBatch",
    "Plan",
    "Prepared",
    "Step",
    "check_positions",
    "collate",
    "in_batches",
    "ingredients",
    "manifest",
    "prepare",
]

make_callable(__name__)
