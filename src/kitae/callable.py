"""`kitae.train` is a room and a verb. A room's package can be called, and then does what the command of its name does."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _Verb(ModuleType):
    def __call__(self, *arguments: Any, **options: Any) -> object:
        # By name, since rooms don't know what is above them.
        api = import_module("kitae.api")
        return getattr(api, self.__name__.rpartition(".")[2])(*arguments, **options)


def make_callable(package: str) -> None:
    sys.modules[package].__class__ = _Verb
