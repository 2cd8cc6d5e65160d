"""S_t = α_t · S_{t-1} (1 - β_t k_t k_tᵀ) + β_t v_t k_tᵀ for all t, and what is read from it, S_t q_t.

A token writes v at k, but only the difference from what is there already, so what it adds depends on all tokens before it.
Within a chunk of time these dependences are a triangular system, solved for all chunks at once; the chunks are then joined
one after another.
"""

from __future__ import annotations

import torch
from torch.nn.functional import pad

_CHUNK = 32


def delta_scan(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, keep: torch.Tensor, write: torch.Tensor, start: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """`query`, `key`, `value`: [batch, heads, time, width]; `keep` (log α), `write` (β): [batch, heads, time];
    `start`: [batch, heads, key width, value width]. Gives all readings, and the last state.
    """
    time = key.shape[2]
    if time == 1:
        return _step(query, key, value, keep, write, start)
    chunk = min(_CHUNK, time)
    missing = -time % chunk
    query, key, value = (_chunks(pad(part, (0, 0, 0, missing)), chunk) for part in (query, key, value))
    keep, write = (_chunks(pad(part, (0, missing)), chunk) for part in (keep, write))

    kept = keep.cumsum(-1)  # since the chunk's beginning, as a logarithm
    between = kept[..., :, None] - kept[..., None, :]
    decay = between.masked_fill(~torch.ones_like(between[0, 0, 0], dtype=torch.bool).tril(), -torch.inf).exp()
    written, since = write[..., None], kept.exp()[..., None]
    # What token t adds is β (v - α S_{t-1} k): own value, less what earlier tokens of the chunk and the state before it hold.
    overlaps = (written * (key @ key.transpose(-1, -2)) * decay).tril(-1)
    sides = torch.cat([written * value, written * since * key], dim=-1)
    solved = torch.linalg.solve_triangular(overlaps, sides, upper=False, unitriangular=True)
    own, held = solved.split([value.shape[-1], key.shape[-1]], dim=-1)
    nearby = (query @ key.transpose(-1, -2)) * decay
    to_end = (kept[..., -1:] - kept).exp()[..., None] * key
    whole = kept[..., -1].exp()[..., None, None]

    state, readings = start, []
    for i in range(key.shape[2]):
        added = own[:, :, i] - held[:, :, i] @ state
        readings.append((since[:, :, i] * query[:, :, i]) @ state + nearby[:, :, i] @ added)
        state = whole[:, :, i] * state + to_end[:, :, i].transpose(-1, -2) @ added
    return torch.cat(readings, dim=2)[:, :, :time], state


def _step(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, keep: torch.Tensor, write: torch.Tensor, start: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    kept = keep[..., None].exp() * start
    state = kept + key.transpose(-1, -2) @ (write[..., None] * (value - key @ kept))
    return query @ state, state


def _chunks(part: torch.Tensor, chunk: int) -> torch.Tensor:
    return part.reshape(*part.shape[:2], -1, chunk, *part.shape[3:])
