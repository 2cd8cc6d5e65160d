"""One base with several adapters: as many engines, one set of weights. They take turns, in one thread."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from kitae.core.errors import InputError, first_line
from kitae.models import check_adapter, open_with_adapter

if TYPE_CHECKING:
    from peft import PeftModel


class Adapted:
    """The model as one of its adapters has it; without any where `name` is None."""

    def __init__(self, model: PeftModel, name: str | None) -> None:
        self._model, self._name = model, name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._model, attribute)

    def eval(self) -> Adapted:
        self._model.eval()
        return self

    def __call__(self, **inputs: Any) -> Any:
        if self._name is None:
            with self._model.disable_adapter():
                return self._model(**inputs)
        if self._model.active_adapter != self._name:
            self._model.set_adapter(self._name)
        return self._model(**inputs)


def open_adapted(base: Path, adapters: Mapping[str, Path], dtype: torch.dtype, device: str) -> dict[str | None, Adapted]:
    """By name; the base itself under None."""
    numbered = {name: f"adapter{number}" for number, name in enumerate(adapters)}  # names of modules may hold no dots
    model: Any = None
    for name, path in adapters.items():
        check_adapter(path)
        if model is None:
            model = open_with_adapter(base, path, dtype, numbered[name])
            continue
        try:
            model.load_adapter(path, numbered[name], autocast_adapter_dtype=False)
        except (ValueError, KeyError, RuntimeError, OSError) as error:
            raise InputError("adapter-unreadable", where=str(path), why=first_line(error)) from error
    model = model.to(dtype).to(device)
    return {None: Adapted(model, None), **{name: Adapted(model, number) for name, number in numbered.items()}}
