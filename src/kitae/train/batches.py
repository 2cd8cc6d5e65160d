"""Which rows make up which optimiser step, decided before training starts, and how a step is laid out in memory."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch.utils.data import Dataset, Sampler

from kitae.chat import Encoded

IGNORED = -100
_WINDOW = 8  # steps' worth of rows among which rows of like length are put together


@dataclass(frozen=True)
class MicroBatch:
    """Rows side by side, right-padded: with causal attention no real token sees the padding, so no mask is needed."""

    input_ids: torch.Tensor
    labels: torch.Tensor  # the token itself where it is to be learned, else IGNORED
    lengths: torch.Tensor  # of the rows, without padding
    sources: list[str]  # where each came from; that of a preference, which takes two rows, once

    def to(self, device: torch.device) -> MicroBatch:
        return replace(self, **{name: getattr(self, name).to(device) for name in ("input_ids", "labels", "lengths")})

    @property
    def real(self) -> torch.Tensor:
        """Which tokens are no padding."""
        return torch.arange(self.input_ids.shape[1], device=self.lengths.device) < self.lengths[:, None]

    @property
    def labelled(self) -> int:
        return int(self.labels_of_rows.sum())

    @property
    def labels_of_rows(self) -> torch.Tensor:
        """How many each row has; the first token is predicted by nothing."""
        return (self.labels[:, 1:] != IGNORED).sum(1)

    def size(self, padded: bool) -> int:
        return self.input_ids.numel() if padded else int(self.lengths.sum())

    def within(self, tokens: int, padded: bool) -> Iterator[MicroBatch]:
        """Itself, or parts that are no larger, as far as rows can be parted."""
        if len(self.sources) == 1 or self.size(padded) <= tokens:
            yield self
            return
        half = len(self.sources) // 2
        yield from self._part(0, half).within(tokens, padded)
        yield from self._part(half, len(self.sources)).within(tokens, padded)

    def alone(self) -> Iterator[MicroBatch]:
        """Each by itself."""
        return (self._part(i, i + 1) for i in range(len(self.sources)))

    def _part(self, start: int, end: int) -> MicroBatch:
        each = len(self.lengths) // len(self.sources)
        rows = slice(start * each, end * each)
        lengths = self.lengths[rows]
        places = rows, slice(int(lengths.max()))
        return MicroBatch(self.input_ids[places], self.labels[places], lengths, self.sources[start:end])


@dataclass(frozen=True)
class Step:
    """One optimiser step: all of its micro-batches."""

    micro: list[MicroBatch]
    tokens: int  # in all processes together, if several take the step

    def to(self, device: torch.device, non_blocking: bool = False) -> Step:
        return Step([batch.to(device) for batch in self.micro], self.tokens)


class EncodedRows(Dataset[Encoded]):
    def __init__(self, rows: Sequence[Encoded]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Encoded:
        return self.rows[index]


class BatchPlan(Sampler[list[int]]):
    """The whole run as a list of steps. Nothing about it depends on random state, so resuming is skipping."""

    def __init__(self, lengths: Sequence[int], batch_tokens: int, epochs: int, seed: int) -> None:
        self.steps = [step for epoch in range(epochs) for step in _epoch(lengths, batch_tokens, f"{seed}-{epoch}")]

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.steps)


def _epoch(lengths: Sequence[int], batch_tokens: int, seed: str) -> list[list[int]]:
    rng = random.Random(seed)
    order = list(range(len(lengths)))
    rng.shuffle(order)
    steps: list[list[int]] = []
    window: list[int] = []
    room = batch_tokens * _WINDOW
    for index in [*order, -1]:
        if index < 0 or (window and sum(lengths[i] for i in window) + lengths[index] > room):
            window.sort(key=lambda i: lengths[i])
            steps += list(_fill(window, lengths, batch_tokens, padded=False))
            window = []
        window.append(index)
    rng.shuffle(steps)
    return steps


def _fill(order: Sequence[int], lengths: Sequence[int], budget: int, padded: bool) -> Iterator[list[int]]:
    """Consecutive groups within the budget; a row longer than that stands alone."""
    group: list[int] = []
    longest = total = 0
    for index in order:
        longest, total = max(longest, lengths[index]), total + lengths[index]
        if group and (longest * (len(group) + 1) if padded else total) > budget:
            yield group
            group, longest, total = [], lengths[index], lengths[index]
        group.append(index)
    if group:
        yield group


def layout(rows: Sequence[Encoded], tokens: int, padded: bool) -> list[list[int]]:
    """How rows are laid out in memory: groups of like length, each within the budget, with padding or without. What is
    compared stays together."""
    lengths = [_room(row) if padded else length(row) for row in rows]
    return list(_fill(sorted(range(len(rows)), key=lambda i: lengths[i]), lengths, tokens, padded))


def length(row: Encoded) -> int:
    """Tokens of all that a model has to read for a row."""
    return sum(len(sequence.ids) for sequence in row.sequences)


def _room(row: Encoded) -> int:
    """The same with padding."""
    return max(len(sequence.ids) for sequence in row.sequences) * len(row.sequences)


@dataclass(frozen=True)
class Part:
    """The share of rows that one of several processes takes."""

    number: int = 0
    count: int = 1
    even: bool = False  # each takes as many micro-batches as every other

    def in_batches(self, rows: Sequence[Encoded], tokens: int, padded: bool) -> Iterator[MicroBatch]:
        """At least one; where there is nothing to take, one in which nothing counts."""
        own = rows[self.number :: self.count]
        yield from in_batches(own, tokens, padded)
        others = [rows[number :: self.count] for number in range(self.count)] if self.even else []
        least = max((len(layout(other, tokens, padded)) for other in others), default=1)
        for _ in range(least - len(layout(own, tokens, padded))):
            yield _nothing(rows[0])


def collate(micro_batch_tokens: int, padded: bool, part: Part = Part()) -> Callable[[Sequence[Encoded]], Step]:
    def step(rows: Sequence[Encoded]) -> Step:
        return Step(list(part.in_batches(rows, micro_batch_tokens, padded)), sum(map(length, rows)))

    return step


def side_by_side(rows: Sequence[Encoded]) -> MicroBatch:
    """A preference takes two rows, the better answer first."""
    sources = [row.source for row in rows]
    rows = [sequence for row in rows for sequence in row.sequences]
    width = max(len(row.ids) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    labels = torch.full((len(rows), width), IGNORED, dtype=torch.long)
    for i, row in enumerate(rows):
        length = len(row.ids)
        ids[i, :length] = torch.tensor(row.ids)
        mask = torch.tensor(row.loss_mask)
        labels[i, :length][mask] = ids[i, :length][mask]
    return MicroBatch(ids, labels, torch.tensor([len(row.ids) for row in rows]), sources)


def _nothing(row: Encoded) -> MicroBatch:
    """For a process that has no row left of a step, which it must take along all the same: nothing of this one counts."""
    batch = side_by_side([row])
    return replace(batch, labels=torch.full_like(batch.labels, IGNORED), lengths=torch.zeros_like(batch.lengths))


def in_batches(rows: Sequence[Encoded], tokens: int, padded: bool) -> Iterator[MicroBatch]:
    """Every row once, for scoring."""
    for group in layout(rows, tokens, padded):
        yield side_by_side([rows[i] for i in group])
