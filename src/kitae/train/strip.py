"""Rows laid one after another, without padding, behind a beginning that all of them share.

Everything in a model but attention looks at tokens one by one, so there a strip costs what its tokens cost. For attention, rows
of like length are put side by side again, and each sees the shared beginning and itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

Tensor = torch.Tensor

_STEP = 64  # a strip's length is a multiple: libraries prepare, and keep, a program for each size of matrices that they see
_ROW_STEP = 16  # the same of rows that stand side by side
_WASTE = 1.25  # places for one token, on average, when rows of unlike length stand side by side


@dataclass(frozen=True)
class Group:
    """Rows of like length."""

    tokens: slice  # of the strip
    places: Tensor | None  # [rows, longest]: which of these tokens stands there, any where a row has ended; None: a single row
    found: Tensor | None  # where in `places`, flattened, each token stands first

    def side_by_side(self, tokens: Tensor) -> Tensor:
        """[all, heads, width] → [rows, heads, longest, width]."""
        own = tokens[self.tokens]
        return (own[None] if self.places is None else own[self.places]).transpose(1, 2)

    def one_after_another(self, rows: Tensor) -> Tensor:
        """[rows, heads, longest, width] → [own tokens, heads, width]."""
        rows = rows.transpose(1, 2)
        return rows[0] if self.found is None else rows.flatten(0, 1)[self.found]


@dataclass(frozen=True)
class Strip:
    shared: int  # tokens of the beginning
    groups: list[Group]
    filling: int  # tokens at the end that belong to no row

    def fill(self, tokens: Tensor) -> Tensor:
        """Some value for the tokens at the end of [1, own tokens]; no loss depends on it."""
        return torch.nn.functional.pad(tokens, (0, self.filling))

    @property
    def beginning(self) -> Group:
        return Group(slice(0, self.shared), None, None)


def strip_of(lengths: Sequence[int], shared: int, device: torch.device) -> Strip:
    """`lengths`: of the rows, each with the shared beginning."""
    groups: list[Group] = []
    start, rows = shared, list[int]()
    for length in (length - shared for length in lengths):
        if rows and max(*rows, length) * (len(rows) + 1) > _WASTE * (sum(rows) + length):
            groups.append(_group(start, rows, device))
            start, rows = start + sum(rows), []
        rows.append(length)
    groups.append(_group(start, rows, device))
    return Strip(shared, groups, -(start + sum(rows)) % _STEP)


def _group(start: int, rows: list[int], device: torch.device) -> Group:
    tokens = slice(start, start + sum(rows))
    if len(rows) == 1:
        return Group(tokens, None, None)
    lengths = torch.tensor(rows, device=device)
    step = torch.arange(-(-max(rows) // _ROW_STEP) * _ROW_STEP, device=device)
    places = (lengths.cumsum(0) - lengths)[:, None] + torch.minimum(step, lengths[:, None] - 1)
    real = step < lengths[:, None]
    return Group(tokens, places, real.flatten().nonzero()[:, 0])
