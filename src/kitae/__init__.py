"""Kitae: train, verify and ship small language models.

`kitae.train`, `kitae.verify`, `kitae.ship` and `kitae.generate` do what the commands of the same names do, and return the
value that the command prints with `--json`. Importing this package imports neither torch nor transformers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["export", "generate", "merge", "quickstart", "ship", "train", "verify"]

if TYPE_CHECKING:
    from kitae.api import export, generate, merge, quickstart, ship, train, verify


def __getattr__(name: str) -> object:
    if name in __all__:
        from kitae import api

        return getattr(api, name)
    raise AttributeError(f"module 'kitae' has no attribute {name!r}")
