"""What several sequences begin with: a system message is read once for all of them."""

from __future__ import annotations

from collections.abc import Sequence


def common_prefix(sequences: Sequence[Sequence[int]]) -> int:
    """How many tokens all begin with. At least one of each is left over, because something has to be predicted from it."""
    shortest = min(sequences, key=len)
    longest = max(0, len(shortest) - 1)
    return next((i for i in range(longest) if any(each[i] != shortest[i] for each in sequences)), longest)


def same_beginning(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens both begin with."""
    length = min(len(one), len(other))
    if one[:length] == other[:length]:
        return length
    low, high = 0, length  # one[:low] is the same, one[:high] is not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if one[low:middle] == other[low:middle] else (low, middle)
    return low
