"""Several processes that train one model: each takes a share of every step's rows, and all take the same step.

Gradients are summed, not averaged, since a step's loss is already divided by all its labels; so any number of processes
takes the step that one would take. Only the first writes files and speaks.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from datetime import timedelta
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

from kitae.core.errors import KitaeError, first_line

if TYPE_CHECKING:
    import torch
    from torch.distributed.device_mesh import DeviceMesh

Value = TypeVar("Value")

_PATIENCE = timedelta(days=7)  # others wait while the first one reads rows, asks the base, or lets a teacher answer all of them
_BELOW = ("gloo", "nccl", "connection closed by peer", "connection reset by peer")


def count() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def count_here() -> int:
    """Of those, on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def number() -> int:
    return int(os.environ.get("RANK", "0"))


def is_first() -> bool:
    return number() == 0


def launcher_shares_weights() -> bool:
    """What `accelerate launch --use_fsdp` asks for; taken out of the environment, so that no other library does it too."""
    return os.environ.pop("ACCELERATE_USE_FSDP", "false").lower() in ("true", "1")


def first_says(value: Value | None) -> Value:
    """What the first process has; the others wait for it."""
    values: list[Value | None] = [value]
    if count() > 1:
        with _together() as joined:
            joined.broadcast_object_list(values, src=0)
    (said,) = values
    assert said is not None
    return said


def summed(value: torch.Tensor) -> torch.Tensor:
    if count() > 1:
        with _together() as joined:
            joined.all_reduce(value)
    return value


def gathered(values: list[Value]) -> list[Value]:
    """What all processes have."""
    if count() == 1:
        return values
    every: list[list[Value]] = [[] for _ in range(count())]
    with _together() as joined:
        joined.all_gather_object(every, values)
    return [value for part in every for value in part]


def sum_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    if count() == 1:
        return
    import torch

    for weights in parameters:
        if weights.requires_grad:
            if weights.grad is None:  # this process had no row that reaches it, others may
                weights.grad = torch.zeros_like(weights)
            with _together() as joined:
                joined.all_reduce(weights.grad)


def first_gives(parameters: Iterable[torch.nn.Parameter]) -> None:
    """All begin with the same numbers, however a process may have drawn its own."""
    if count() > 1:
        for weights in parameters:
            with _together() as joined:
                joined.broadcast(weights.data, src=0)


def mesh() -> DeviceMesh:
    """All processes, in a line."""
    from torch.distributed.device_mesh import init_device_mesh

    with _together() as joined:
        return init_device_mesh("cuda" if joined.get_backend() == "nccl" else "cpu", (count(),))


def wait_for_all() -> None:
    if count() > 1:
        with _together() as joined:
            joined.barrier()


@contextlib.contextmanager
def others_needed() -> Iterator[None]:
    """Where weights are shared, processes talk in the middle of everything; what then fails has words of a library below."""
    try:
        yield
    except RuntimeError as error:
        if count() == 1 or not any(name in str(error).lower() for name in _BELOW):
            raise
        raise _gone(error) from error


@contextlib.contextmanager
def _together() -> Iterator[ModuleType]:
    """What all processes do at once. One that is gone breaks it for the others."""
    try:
        yield _joined()
    except RuntimeError as error:
        raise _gone(error) from error


def _gone(error: RuntimeError) -> KitaeError:
    return KitaeError("process-gone", why=first_line(error), number=number(), count=count())


def _joined() -> ModuleType:
    import torch
    from torch import distributed

    if not distributed.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))  # else all would talk through the first one's
        distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=_PATIENCE)
    return distributed
