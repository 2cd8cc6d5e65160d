"""llama.cpp's own converter, out of a source distribution that carries the whole of llama.cpp. Nothing of it is built."""

from __future__ import annotations

import tarfile
from pathlib import Path

from kitae.core import paths
from kitae.core.files import staged_folder
from kitae.core.packages import Package, fetched

_SOURCE = Package(
    name="llama-cpp-python",
    version="0.3.36",
    file="llama_cpp_python-0.3.36.tar.gz",
    sha256="832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e",
    size=76_589_250,
)
_WANTED = ("convert_hf_to_gguf.py", "conversion/", "gguf-py/gguf/", "LICENSE")


def converter() -> Path:
    """The folder with `convert_hf_to_gguf.py`."""
    folder = paths.cache_dir() / f"llama.cpp-{_SOURCE.version}"
    if not (folder / _WANTED[0]).exists():
        with fetched(_SOURCE) as archive, staged_folder(folder) as stage:
            unpack(archive, stage)
    return folder


def unpack(archive: Path, folder: Path) -> None:
    prefix = f"llama_cpp_python-{_SOURCE.version}/vendor/llama.cpp/"
    with tarfile.open(archive) as tar:
        for member in tar:
            name = member.name.removeprefix(prefix)
            if member.isfile() and name != member.name and name.startswith(_WANTED) and ".." not in name:
                source = tar.extractfile(member)
                assert source is not None
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(source.read())
