"""Batches by token budget, the loss, the trainer."""

from kitae.callable import make_callable
from kitae.train.batches import IGNORED, MicroBatch, Plan, Step, collate, in_batches
from kitae.train.prepare import CollatedRow, Prepared, gather_rows, manifest, prepare

__all__ = [
    "IGNORED",
    "CollatedRow",
    "MicroBatch",
    "Plan",
    "Prepared",
    "Step",
    "collate",
    "gather_rows",
    "in_batches",
    "manifest",
    "prepare",
]

make_callable(__name__)
