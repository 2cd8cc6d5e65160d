"""What this machine has, and what will work on it."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from kitae import __version__
from kitae.core import paths
from kitae.core.files import JsonDict
from kitae.core.hardware import BEYOND_AVX2, cpu_flags, processor_multiplies_bf16
from kitae.core.i18n import t
from kitae.core.workers import run_fresh
from kitae.models import CHOICE, NATIVE, PREBUILT, llama_places, starter_file

_PACKAGES = ("torch", "transformers", "peft", "tokenizers", "gguf")
_WORTH_IT = 1.1  # times as fast


def examine(measure: bool = False) -> JsonDict:
    """`measure`: also times each llama.cpp that is installed, which takes a minute."""
    found: dict[str, object] = {
        "kitae": __version__,
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "cpu": f"{psutil.cpu_count(logical=False)} / {os.cpu_count()} ({', '.join(_cpu_features()) or platform.machine()})",
        "memory": f"{psutil.virtual_memory().available / 2**30:.1f} / {psutil.virtual_memory().total / 2**30:.1f} GiB",
        "disk": f"{shutil.disk_usage(_existing(paths.home())).free / 2**30:.1f} GiB ({paths.home()})",
        "compiler": shutil.which("c++") or shutil.which("g++") or shutil.which("clang++") or "–",
        **{name: _version(name) for name in _PACKAGES},
        "llama.cpp": "; ".join(f"{place.package} ({place.kind})" for place in llama_places()) or "–",
        "gpu": ", ".join(_gpus()) or "–",
    }
    speeds = _speeds() if measure else {}
    return {"found": found, "speeds": speeds, "notes": [*_notes(found), *_about_native(found, speeds)]}


def _speeds() -> JsonDict:
    """Tokens a second of each llama.cpp, with the starter model."""
    from kitae.generate import measure

    file = str(starter_file())
    found = {}
    for place in llama_places():
        os.environ[CHOICE] = place.kind
        code, printed = run_fresh(measure, file, label=place.package)
        del os.environ[CHOICE]
        if not code:
            found[place.kind] = json.loads(printed.strip().splitlines()[-1])
    return found


def _about_native(found: dict[str, object], speeds: JsonDict) -> Iterator[str]:
    for kind, numbers in speeds.items():
        yield t("doctor.speed", kind=kind, **{name: numbers[name] for name in ("read", "write", "write_8")})
    kinds = {place.kind for place in llama_places()}
    if {PREBUILT, NATIVE} <= speeds.keys():
        times = {name: speeds[NATIVE][name] / speeds[PREBUILT][name] for name in speeds[NATIVE]}
        shown = {name: f"{value:.1f}" for name, value in times.items()}
        faster = max(times.values()) > _WORTH_IT
        yield t("doctor.native-faster", **shown) if faster else t("doctor.native-alike", **shown)
    elif NATIVE not in kinds:
        unused = [feature for feature in BEYOND_AVX2 if feature in str(found["cpu"])]
        yield t("doctor.native-unused", features=", ".join(unused)) if unused else t("doctor.native-f16")


def _notes(found: dict[str, object]) -> list[str]:
    notes = []
    missing = [name for name in _PACKAGES if found[name] == "–"]
    if missing:
        notes.append(t("doctor.missing", packages=", ".join(missing)))
    if found["gpu"] == "–":
        fast = processor_multiplies_bf16()
        notes.append(t("doctor.cpu-bf16" if fast else "doctor.cpu-fp32"))
    if psutil.virtual_memory().available < 4 * 2**30:
        notes.append(t("doctor.little-memory"))
    if shutil.disk_usage(_existing(paths.home())).free < 4 * 2**30:
        notes.append(t("doctor.little-disk"))
    if not missing:
        notes.append(t("doctor.ready"))
    return notes


def _cpu_features() -> list[str]:
    return [feature for feature in ("avx2", *BEYOND_AVX2) if feature in cpu_flags()]


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
