"""A model's weights spread over all processes, FSDP2: each keeps a part of every layer, with the part's gradient and moments,
and a layer is whole only while it works.

What is saved is whole again, in the form that one process writes, so a run may go on with any number of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PreTrainedModel

from kitae.core import processes
from kitae.core.errors import InputError
from kitae.train.layers import name_of, stack_of


class Whole(nn.Module):
    """What is done with a model is done in this module's forward pass: then the weights outside of layers are together."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, work: Callable[..., Any], *arguments: Any) -> Any:
        return work(*arguments)


def spread(model: PreTrainedModel) -> Whole:
    """Beside a frozen model adapters stay whole in each process: they are small."""
    from torch.distributed.fsdp import fully_shard

    layers = stack_of(model)
    if layers is None:
        raise InputError("shard", where=name_of(model))
    learned = {weights for weights in model.parameters() if weights.requires_grad}
    beside = learned if any(not weights.requires_grad for weights in model.parameters()) else set()
    whole, mesh = Whole(model), processes.mesh()
    for module in (*layers, whole):
        part = fully_shard(module, mesh=mesh, reshard_after_forward=True, ignored_params=beside)
        part.set_gradient_divide_factor(1.0)  # summed, not averaged: a step's loss is already divided by all its labels
        part.set_force_sum_reduction_for_comms(True)  # by a plain sum, which gloo has too
    model.register_load_state_dict_pre_hook(_spread_weights)
    return whole


def held(model: nn.Module) -> int:
    """Numbers of the model that are in this process."""
    return sum((weights.to_local() if isinstance(weights, DTensor) else weights).numel() for weights in model.parameters())


def whole_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """All of a model's weights, in the first process; the others only give theirs."""
    made: dict[int, torch.Tensor] = {}  # tied weights stay one
    return {
        name: made.setdefault(id(weights), _together(weights)) for name, weights in model.state_dict(keep_vars=True).items()
    }


def keep_whole(optimizer: torch.optim.Optimizer) -> None:
    """Makes its state whole where it is asked for, which all processes do at once, and spreads what it is given."""
    optimizer.register_state_dict_post_hook(_gather_moments)
    optimizer.register_load_state_dict_pre_hook(_spread_moments)


def total_norm(parameters: Iterable[nn.Parameter]) -> torch.Tensor:
    norm = torch.nn.utils.get_total_norm([weights.grad for weights in parameters if weights.grad is not None])
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


def _together(value: torch.Tensor) -> torch.Tensor:
    whole = value.full_tensor() if isinstance(value, DTensor) else value
    return whole.detach().cpu() if processes.is_first() else whole.new_empty(0)


def _apart(whole: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """A process has read all of it, so nothing needs to be sent."""
    if not isinstance(like, DTensor) or isinstance(whole, DTensor):
        return whole
    return distribute_tensor(whole.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def _spread_weights(model: nn.Module, state: dict[str, Any], *_: Any) -> None:
    for name, weights in model.state_dict(keep_vars=True).items():
        if name in state:
            state[name] = _apart(state[name], weights)


def _gather_moments(_: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    return {**state, "state": {n: {k: _together(v) for k, v in of.items()} for n, of in state["state"].items()}}


def _spread_moments(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    every = [weights for group in optimizer.param_groups for weights in group["params"]]

    def apart(value: torch.Tensor, number: int) -> torch.Tensor:
        return _apart(value, every[number]) if value.shape == every[number].shape else value  # else it counts steps

    return {**state, "state": {n: {k: apart(v, n) for k, v in of.items()} for n, of in state["state"].items()}}
