"""What a recipe asks for beside Kitae's own libraries, looked for before anything is read or loaded."""

from __future__ import annotations

import importlib.util
import sys

from kitae.errors import InputError
from kitae.hardware import has_gpu
from kitae.recipe import Train

_PACKAGES = {"tensorboard": ("tensorboard", "tensorboardX")}  # of trackers, where they are called otherwise


def find_packages(train: Train) -> None:
    for tracker in train.report_to:
        _find(f"train.report_to: {tracker}", *_PACKAGES.get(tracker, (tracker,)))
    if train.method == "qlora":
        _find("train.method: qlora", "bitsandbytes")
    if train.kernels == "liger":
        _find("train.kernels: liger", "liger_kernel")
        if not has_gpu():
            raise InputError("kernels-gpu", where="train.kernels: liger")


def _find(asked: str, *packages: str) -> None:
    """One of these will do."""
    if not any(importlib.util.find_spec(package) for package in packages):
        command = f"{sys.executable} -m pip install {packages[-1].replace('_', '-')}"
        raise InputError("package-missing", where=asked, package=packages[-1], command=command)
