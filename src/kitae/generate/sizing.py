"""How much memory conversations may take."""

from __future__ import annotations

from kitae.core.errors import InputError
from kitae.core.hardware import free_memory
from kitae.generate.engine import Engine

_LONGEST, _SHORTEST = 8192, 1024  # tokens of a sequence, where nobody says how many
_FEW = 8  # sequences; for fewer each may be as long as the model allows
_MOST = 32
_SHARE_OF_MEMORY = 0.4


def room_for_prompt(length: int, most: int | None) -> int:
    """Tokens that a prompt may have, so that there is room for its answer: for `most` tokens, but no more than a quarter."""
    return max(1, length - min(most or length, length // 4))


def room(engine: Engine, length: int | None = None, places: int | None = None, share: int = 1) -> tuple[int, int]:
    """Tokens of a sequence, and how many sequences at a time: what was asked for, else what the memory allows. Many short ones
    are worth more than few long ones, down to a length at which conversations would be cut. `share`: how many models there
    are."""
    if length is not None and length > engine.context:
        raise InputError("context-trained", asked=length, limit=engine.context)
    cell = engine.cell_bytes
    budget = _SHARE_OF_MEMORY * free_memory() / share
    longest = length or min(engine.context, _LONGEST)
    while length is None and longest > _SHORTEST and budget < cell * longest * (places or _FEW):
        longest //= 2
    return longest, places or max(1, min(_MOST, engine.width, int(budget / max(1, cell * longest))))
