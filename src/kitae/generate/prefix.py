"""What several sequences begin with: a system message is read once for all of them."""

from __future__ import annotations

from collections.abc import Sequence


def common_prefix(sequences: Sequence[Sequence[int]]) -> int:
    """How many tokens all begin with. At least one of each is left over, because something has to be predicted from it."""
    shortest = min(sequences, key=len)
    longest = max(0, len(shortest) - 1)
    return next((i for i in range(longest) if any(each[i] != shortest[i] for each in sequences)), longest)
