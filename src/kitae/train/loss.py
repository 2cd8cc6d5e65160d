"""The loss: of labelled tokens only, and the same however rows are laid out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from kitae.chat import Encoded
from kitae.train.attention import CannotIsolate, attending, strips_allowed
from kitae.train.batches import IGNORED, MicroBatch, side_by_side
from kitae.train.head import Labels, Score, compute_type, filled_up, head_losses, logit_losses, some, teacher_logits
from kitae.train.strip import strip_of

# By how much losses may differ, in roots of what a type rounds away: of a row in a strip of its own, where attention rounds in
# other places than the model's does, and of the same row in a strip with others, where nothing but sizes of products changes.
_ATTENDED = 0.6
_TOGETHER = 0.25
_ROUNDINGS = 3  # in which a model makes a soft cap
_UNMOVED = 1e-3  # nats by which a loss may move when only another row has changed; where rows are apart none moves at all
_TRIED = 16  # tokens on which a head is tried

# The tokens to predict, the positions that predict them, a model's inputs, and what holds while it is asked.
Layout = tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor | None], contextlib.AbstractContextManager[None]]


class LabelledLoss:
    """Runs a causal model's own forward pass, but lets only labelled positions reach its head.

    Where the model has been seen to do nothing with its head's logits, or to soft-cap them, the head's product is made block by
    block together with the loss. Otherwise the head is asked through the model, and what the model does stays its business.
    Where it has been seen to keep rows of a strip apart, it gets them in one, without padding and with what they all begin
    with (a system message) only once. Otherwise it gets them side by side, and is told where they end if it carries a state.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._head = _head(model)
        self._chosen: torch.Tensor | None = None  # the positions that reach the head in this pass
        self._make: Callable[[torch.Tensor], torch.Tensor] | None = None  # what the head's hook makes of them, if not logits
        self._made: torch.Tensor | None = None
        self.score: Callable[[torch.Tensor, float | None], Score] = Labels
        self._ending: Ending | None = None
        self._tried = False
        self._carries_state = getattr(model, "carries_state", False)
        self.padded = True
        self.added: torch.Tensor | None = None  # what the model itself adds to the loss of each token of the last batch
        self._head.register_forward_pre_hook(self._choose)

    def __call__(self, batch: MicroBatch) -> torch.Tensor:
        """Of each row, the summed negative log-likelihood of its labels."""
        return by_row(self.each(batch), batch)

    def count(self, batch: MicroBatch) -> int:
        return batch.labelled

    def each(self, batch: MicroBatch) -> torch.Tensor:
        """That of each label, row by row."""
        self._know(batch)
        return self._nll(self._laid_out(batch))

    def exact(self, batch: MicroBatch) -> torch.Tensor:
        """Of the rows with labels, in which every one is the token that the model finds likeliest: what it would say itself."""
        logits = self.logits(batch)
        targets, _ = _predicted(batch.labels)
        wrong = torch.zeros(len(targets), device=targets.device)
        for part in some(len(targets)):
            wrong[part] = (logits(part).argmax(-1)[: len(targets[part])] != targets[part]).float()
        return by_row(wrong, batch)[batch.labels_of_rows > 0] == 0

    def _know(self, batch: MicroBatch) -> None:
        if not self._tried:
            self._ending, self._tried = self._recognise(batch), True

    def try_strip(self, batch: MicroBatch) -> None:
        """Rows go into a strip from now on if their losses stay what they are, and none changes when another row does."""
        if not strips_allowed(self.model.config):
            return
        shared = shared_prefix(batch)
        ids = batch.input_ids.clone()
        ids[0, shared:] = ids[0, shared:].flip(0)
        own = int((batch.labels[0, 1:] != IGNORED).sum())
        with still(self.model):
            usual = torch.cat([self._nll(self._side_by_side(row)) for row in batch.alone()])
            try:
                apart = torch.cat([self._nll(self._in_a_strip(row, 0)) for row in batch.alone()])
                together = self._nll(self._in_a_strip(batch, shared))
                changed = self._nll(self._in_a_strip(replace(batch, input_ids=ids), shared))
            except CannotIsolate:
                return
        rounding = torch.finfo(compute_type(next(self._head.parameters()))).eps ** 0.5
        alike = _apart(apart, usual) <= _ATTENDED * rounding and _apart(together, apart) <= _TOGETHER * rounding
        self.padded = not (alike and torch.allclose(changed[own:], together[own:], atol=_UNMOVED))

    def logits(self, batch: MicroBatch) -> Callable[[slice], torch.Tensor]:
        """Those that predict the labels, some at a time."""
        self._know(batch)
        _, chosen, inputs, around = self._laid_out(batch)
        with around:
            if self._ending is None:
                every = filled_up(self._forward(chosen, **inputs))
                return lambda part: every[part]
            hidden = self._reached(chosen, lambda hidden: hidden, **inputs)
        assert isinstance(self._head, nn.Linear)
        return teacher_logits(hidden, self._head, self._ending.cap)

    def _laid_out(self, batch: MicroBatch) -> Layout:
        if self.padded or not batch.lengths.any():  # the stand-in of a process that has no row of a step has no tokens either
            return self._side_by_side(batch)
        return self._in_a_strip(batch, shared_prefix(batch))

    def _side_by_side(self, batch: MicroBatch) -> Layout:
        targets, chosen = _predicted(batch.labels)
        real = batch.real if self._carries_state else None
        return targets, chosen, {"input_ids": batch.input_ids, "attention_mask": real}, contextlib.nullcontext()

    def _in_a_strip(self, batch: MicroBatch, shared: int) -> Layout:
        kept = batch.real
        kept[:, :shared] = False
        kept[0, :shared] = True  # of a beginning that is the same in all rows, that of the first
        targets, chosen = _predicted(batch.labels)
        times = torch.arange(batch.input_ids.shape[1], device=kept.device).expand_as(kept)
        strip = strip_of(batch.lengths.tolist(), shared, kept.device)
        laid = (strip.fill(of[kept][None]) for of in (chosen, batch.input_ids, times))
        return targets, next(laid), {"input_ids": next(laid), "position_ids": next(laid)}, attending(strip)

    def _nll(self, layout: Layout) -> torch.Tensor:
        targets, chosen, inputs, around = layout
        head, ending = self._head, self._ending
        with around:
            if ending is None:
                return logit_losses(self._forward(chosen, **inputs), self.score(targets, None))
            assert isinstance(head, nn.Linear)
            score = self.score(targets, ending.cap)
            return self._reached(chosen, lambda hidden: head_losses(hidden, head, score), **inputs)

    def _reached(
        self, chosen: torch.Tensor, make: Callable[[torch.Tensor], torch.Tensor], **inputs: torch.Tensor | None
    ) -> torch.Tensor:
        """What is made of the states that would reach the head."""
        self._make = make
        try:
            self._forward(chosen, **inputs)
            assert self._made is not None
            return self._made
        finally:
            self._make = self._made = None

    def _forward(self, chosen: torch.Tensor, **inputs: torch.Tensor | None) -> torch.Tensor:
        self._chosen = chosen
        try:
            found = self.model(**inputs, use_cache=False)
            self.added = getattr(found, "added_loss", None)
            logits: torch.Tensor = found.logits
            return logits
        finally:
            self._chosen = None

    def _choose(self, head: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if self._chosen is None:
            return None
        own = arguments[0][:, -self._chosen.shape[1] :]  # without a soft prompt before it
        hidden = own[self._chosen]
        if self._make is not None:
            self._made = self._make(hidden)
            hidden = hidden[:0]  # the model makes logits of nothing
        return (hidden, *arguments[1:])

    def _recognise(self, batch: MicroBatch) -> Ending | None:
        """What the model does with its head's logits, if that is known, and seen to be so."""
        head = self._head
        if type(head) is not nn.Linear:
            return None
        ids = batch.input_ids[:1, :_TRIED]
        every = torch.ones_like(ids, dtype=torch.bool)
        seen: list[torch.Tensor] = []
        watch = head.register_forward_hook(lambda _, __, logits: seen.append(logits))
        try:
            with still(self.model):
                mask = every if self._carries_state else None
                logits = self._forward(every, input_ids=ids, attention_mask=mask).float()
        finally:
            watch.remove()
        made = seen[0].float()
        if torch.equal(made, logits):
            return Ending(None)
        cap = getattr(getattr(self.model, "config", None), "final_logit_softcapping", None)
        rounding = _ROUNDINGS * torch.finfo(seen[0].dtype).eps
        if cap and made.shape == logits.shape and torch.allclose(cap * torch.tanh(made / cap), logits, rounding, 1e-6):
            return Ending(cap)
        return None


@dataclass(frozen=True)
class Ending:
    """How a model's logits come from its head's."""

    cap: float | None


@contextlib.contextmanager
def still(model: nn.Module) -> Iterator[None]:
    """Without gradients or dropout, so that no random number is drawn which a resumed run would not draw."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)


def _apart(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found - wanted).abs().sum() / wanted.abs().sum())


def by_row(each: torch.Tensor, batch: MicroBatch) -> torch.Tensor:
    """Sums over the labels of each row."""
    labels = batch.labels_of_rows
    rows = torch.arange(len(labels), device=each.device).repeat_interleave(labels)
    return torch.zeros(len(labels), device=each.device).index_add(0, rows, each)


def trial_batch(rows: Sequence[Encoded]) -> MicroBatch:
    """Two of the shortest rows and the longest, behind which whatever is limited to some length would show."""
    by_length = sorted(rows, key=lambda row: len(row.ids))
    return side_by_side([*by_length[:2], *by_length[2:][-1:]])


def shared_prefix(batch: MicroBatch) -> int:
    """How many tokens all rows begin with alike, none of them predicting a label."""
    ids, labels = batch.input_ids, batch.labels
    if len(ids) < 2:
        return 0
    alike = (ids == ids[:1]).all(0) & (labels == IGNORED).all(0)
    length = int(alike.int().cumprod(0).sum())
    # The last shared token may predict the first label, which the rest then has to do.
    return max(0, min(length, ids.shape[1]) - 1)


def _predicted(labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(the tokens to predict, the positions that predict them). The last position predicts nothing that we know."""
    targets = labels[:, 1:]
    kept = targets != IGNORED
    return targets[kept], torch.cat([kept, torch.zeros_like(kept[:, :1])], dim=1)


def _head(model: nn.Module) -> nn.Module:
    inner: Any = model
    if hasattr(inner, "get_base_model"):
        inner = inner.get_base_model()
    head: nn.Module = inner.get_output_embeddings()
    return head
