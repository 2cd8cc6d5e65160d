"""llama.cpp's own converter, from the source distribution of the very library that will run the file.

The distribution is fetched once with pip, checked against a known hash, and only the converter is unpacked.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path

from kitae import paths
from kitae.console import console
from kitae.errors import InputError, KitaeError
from kitae.files import sha256, staged_folder
from kitae.i18n import t

_PACKAGE = "llama-cpp-python"
_VERSION = "0.3.36"
_SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
_WANTED = ("convert_hf_to_gguf.py", "conversion/", "gguf-py/gguf/", "LICENSE")


def converter() -> Path:
    """The folder with `convert_hf_to_gguf.py`."""
    installed = version(_PACKAGE)
    if installed != _VERSION:
        raise InputError("converter-version", where=_PACKAGE, why=f"{installed} ≠ {_VERSION}")
    # Beside the environment that it belongs to where that can be written, else among the caches.
    for parent in (Path(sys.prefix) / "share" / "kitae", paths.cache_dir()):
        folder = parent / f"llama.cpp-{_VERSION}"
        if (folder / _WANTED[0]).exists():
            return folder
    if paths.offline():
        raise InputError("offline", where=f"{_PACKAGE}=={_VERSION}")
    console.say(t("say.converter"))
    for parent in (Path(sys.prefix) / "share" / "kitae", paths.cache_dir()):
        folder = parent / f"llama.cpp-{_VERSION}"
        try:
            with staged_folder(folder) as stage:
                unpack(_fetch(stage), stage)
            return folder
        except InputError as error:
            if error.kind != "not-writable":
                raise
    raise InputError("not-writable", where=str(paths.cache_dir()))


def _fetch(folder: Path) -> Path:
    # Resolving metadata would build the package; --no-deps with --no-build-isolation would ask for its build tools.
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", _PACKAGE]
    with tempfile.TemporaryDirectory(dir=folder) as scratch:  # beside its target: a rename can't leave a file system
        process = subprocess.run(
            [*command, f"{_PACKAGE}=={_VERSION}", "--dest", scratch], capture_output=True, text=True, check=False
        )
        found = list(Path(scratch).glob("*.tar.gz"))
        if process.returncode or not found:
            why = "\n".join(process.stderr.strip().splitlines()[-3:])
            raise KitaeError("converter-download", where=f"{_PACKAGE}=={_VERSION}", why=why)
        return found[0].replace(folder / found[0].name)


def unpack(archive: Path, folder: Path) -> None:
    """Takes the converter out of the distribution and removes the archive."""
    digest = sha256(archive)
    if digest != _SHA256:
        raise KitaeError("converter-hash", where=archive.name, why=f"{digest} ≠ {_SHA256}")
    prefix = f"llama_cpp_python-{_VERSION}/vendor/llama.cpp/"
    with tarfile.open(archive) as tar:
        for member in tar:
            name = member.name.removeprefix(prefix)
            if member.isfile() and name != member.name and name.startswith(_WANTED) and ".." not in name:
                source = tar.extractfile(member)
                assert source is not None
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(source.read())
    archive.unlink()
