"""How fast this machine trains, by taking a few steps that are thrown away."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import torch

from kitae.chat import ChatCodec, Conversation
from kitae.recipe import Train
from kitae.train.batches import BatchPlan, collate, length
from kitae.train.budget import tokens_at_once
from kitae.train.loss import LabelledLoss, trial_batch
from kitae.train.methods import compute_dtype, with_lora

_UNCOUNTED = 1  # steps; the first one prepares programs for its sizes of matrices
_COUNTED = 12
_ENOUGH = 6.0  # seconds


def tokens_per_second(base: Path, codec: ChatCodec, conversations: Sequence[Conversation], train: Train) -> float:
    """Of training an adapter on such rows."""
    rows = [sequence for row in conversations for sequence in codec.encode(row)]
    plan = BatchPlan([length(row) for row in rows], train.batch_tokens, 1, train.seed)
    dtype = compute_dtype(train.precision)
    model = with_lora(base, train, codec.vocabulary.control)
    model.train()
    with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
        loss = LabelledLoss(model)
        loss.try_strip(trial_batch(rows))
        together = collate(tokens_at_once(train), loss.padded)
        for number, indices in enumerate(plan.steps[: _UNCOUNTED + _COUNTED]):
            if number == _UNCOUNTED:
                began, done = time.monotonic(), 0
            for batch in together([rows[i] for i in indices]).micro:
                torch.autograd.backward(loss(batch).sum())
            model.zero_grad()
            if number >= _UNCOUNTED:
                done += sum(length(rows[i]) for i in indices)
                if time.monotonic() - began > _ENOUGH:
                    break
    return done / (time.monotonic() - began)
