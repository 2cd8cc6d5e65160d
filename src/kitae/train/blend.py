"""Several models of one base as one model: their weights averaged, turned towards each other, or what each changed added up."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import torch
from transformers import PreTrainedModel

from kitae.core.errors import InputError
from kitae.recipe import Blend
from kitae.train.other_models import open_other

Tensor = torch.Tensor
_PARALLEL = 1e-6  # radians below which two directions are one


def blend_into(model: PreTrainedModel, settings: Blend, seed: int) -> None:
    """`model`: the base, whose weights become the blend."""
    own = dict(model.named_parameters())
    models = []
    for source in settings.models:
        models.append(dict(open_other(source, torch.float32).named_parameters()))
        _check(own, models[-1], source)
    for name, base in own.items():
        tensors = [found[name].data.to(base.device) for found in models]
        base.data.copy_(blended(base.data, tensors, settings, f"{seed}-{name}"))


def blended(base: Tensor, models: Sequence[Tensor], settings: Blend, seed: str) -> Tensor:
    given = torch.tensor(settings.weights or [1.0] * len(models))
    shares = given / given.sum()
    if settings.how == "linear":
        return _sum(models, shares)
    if settings.how == "slerp":
        return _slerp(models[0], models[1], float(shares[1]))
    changes = [model - base for model in models]
    if settings.how == "ties":
        return base + settings.scale * _ties(changes, shares, settings.density)
    kept = [_dropped(change, settings.density, f"{seed}-{number}") for number, change in enumerate(changes)]
    return base + settings.scale * _sum(kept, shares)


def _sum(tensors: Sequence[Tensor], shares: Tensor) -> Tensor:
    total = torch.zeros_like(tensors[0])
    for tensor, share in zip(tensors, shares.tolist(), strict=True):
        total += share * tensor
    return total


def _slerp(start: Tensor, end: Tensor, share: float) -> Tensor:
    """Along the arc between two directions, so that length isn't lost as it is on the straight line between them."""
    lengths = [tensor.double().norm() for tensor in (start, end)]
    if min(lengths) == 0:
        return start + share * (end - start)
    cosine = (start.double() / lengths[0] * (end.double() / lengths[1])).sum().clamp(-1, 1)
    angle = torch.arccos(cosine)
    if torch.sin(angle) < _PARALLEL:
        return start + share * (end - start)
    first, second = torch.sin((1 - share) * angle), torch.sin(share * angle)
    return ((first * start.double() + second * end.double()) / torch.sin(angle)).to(start.dtype)


def _ties(changes: Sequence[Tensor], shares: Tensor, density: float) -> Tensor:
    """The largest changes of each; where they disagree about a sign, those that agree with the greater weight; their mean."""
    kept = [_largest(change, density) for change in changes]
    elected = torch.sign(_sum(kept, shares))
    total, weight = torch.zeros_like(elected), torch.zeros_like(elected)
    for change, share in zip(kept, shares.tolist(), strict=True):
        agrees = (torch.sign(change) == elected) & (elected != 0)
        total += torch.where(agrees, share * change, 0)
        weight += torch.where(agrees, share, 0.0)
    return torch.where(weight > 0, total / weight.clamp(min=1e-12), 0)


def _largest(change: Tensor, density: float) -> Tensor:
    count = max(1, round(density * change.numel()))
    chosen = change.abs().flatten().topk(count).indices
    return torch.zeros_like(change).flatten().index_put((chosen,), change.flatten()[chosen]).view_as(change)


def _dropped(change: Tensor, density: float, seed: str) -> Tensor:
    """Some of the changes, by chance, so much larger that their sum is likely to stay what it was."""
    number = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "little") >> 1
    chance = torch.rand(change.shape, generator=torch.Generator().manual_seed(number)).to(change.device)
    return torch.where(chance < density, change / density, 0)


def _check(own: Mapping[str, Tensor], other: Mapping[str, Tensor], source: str) -> None:
    for name in sorted(own.keys() | other.keys()):
        ours, theirs = (None if name not in of else tuple(of[name].shape) for of in (own, other))
        if ours != theirs:
            raise InputError("blend-shapes", where=source, why=f"{name}: {theirs} ≠ {ours}")
