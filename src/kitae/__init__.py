"""Kitae: train, verify and ship small language models.

`kitae.train`, `kitae.verify`, `kitae.ship`, `kitae.generate`, `kitae.merge`, `kitae.blend`, `kitae.compare`, `kitae.export` and
`kitae.quickstart` do what the commands of the same names do, and return the value that the command prints with `--json`; so do
`kitae.evaluate` (`eval`), `kitae.train_tokenizer`, `kitae.inspect_tokenizer`, `kitae.clean_data`, `kitae.inspect_data`,
`kitae.split_data`, `kitae.select_data`, `kitae.synthesise` (`data synth`), `kitae.pull` and `kitae.licences`. Importing this
package imports neither torch nor transformers.
"""

from __future__ import annotations

from importlib import import_module

from kitae.architectures import announce

__version__ = "0.1.0"
__all__ = [
    "blend",
    "clean_data",
    "compare",
    "evaluate",
    "export",
    "generate",
    "inspect_data",
    "inspect_tokenizer",
    "licences",
    "merge",
    "pull",
    "quickstart",
    "select_data",
    "ship",
    "split_data",
    "sweep",
    "synthesise",
    "train",
    "train_tokenizer",
    "verify",
]
_ROOMS = ("evaluate", "generate", "ship", "train", "verify")  # packages that can be called


def __getattr__(name: str) -> object:
    if name in _ROOMS:
        return import_module(f"kitae.{name}")
    if name in __all__:
        return getattr(import_module("kitae.api"), name)
    raise AttributeError(f"module 'kitae' has no attribute {name!r}")


announce()
