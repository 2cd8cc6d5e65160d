"""Kitae on one NVIDIA GPU, beside its peers, in under nine minutes: python benchmarks/gpu.py [--out FILE] [--json] [--tiny]

training: the same LoRA on the same rows by Kitae and by TRL's fast settings. proof: train, merge, GGUF, quantise, verify, each
timed. serving: answers of many sequences at once by Kitae's torch engine and by transformers, from the same weights. Models
have random weights in the shape of a small Qwen 3, so nothing is downloaded. Each part has its own time; a part, or a
measurement, that finds none left is left out and says so. FILE is written anew after every measurement. `--tiny` does the same
on two cores, with models that know nothing and are next to nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from gpu_parts import PARTS, Place, Row, found
from sft import machine

SECONDS = {"model": 40, "training": 250, "proof": 140, "serving": 100}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="on the CPU, in about a minute: does everything work?")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"), help="default: %(default)s")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--worker", nargs=3, metavar=("PART", "FOLDER", "SECONDS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker is not None:
        part, folder, seconds = options.worker
        work(PARTS[part], Place(Path(folder), options.tiny, time.monotonic() + float(seconds)))
        return
    report: Row = {"machine": machine() | gpu(), "tiny": options.tiny, "parts": {}, "rows": [], "ratios": {}}
    with tempfile.TemporaryDirectory() as folder:
        for part in PARTS:
            follow(part, Path(folder), report, options.tiny, options.out)
    if options.json:
        print(json.dumps(report))
        return
    for row in report["rows"]:
        print("  ".join(f"{name}: {value}" for name, value in row.items()))
    print(json.dumps({"parts": report["parts"], "ratios": report["ratios"]}))


def gpu() -> Row:
    import torch

    name = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"gpu": name, "torch": torch.__version__, "liger": found("liger_kernel"), "flash_attn": found("flash_attn")}


# A part runs in a process of its own, which is ended when the part's time is up; what it had measured by then counts.


def follow(part: str, folder: Path, report: Row, tiny: bool, out: Path) -> None:
    began, seconds = time.monotonic(), SECONDS[part]
    command = [sys.executable, __file__, *(["--tiny"] if tiny else []), "--worker", part, str(folder), str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    late = threading.Event()

    def end() -> None:
        late.set()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with all that it started

    timer = threading.Timer(seconds, end)
    timer.start()
    report["parts"][part] = {"state": "running"}
    for line in process.stdout:
        report["rows"].append({"part": part, **json.loads(line)})
        report["ratios"] = ratios(report["rows"])
        print(line, end="", file=sys.stderr, flush=True)
        out.write_text(json.dumps(report, indent=2))
    code = process.wait()
    timer.cancel()
    state = "out of time" if late.is_set() else "done" if code == 0 else f"failed (exit code {code})"
    report["parts"][part] = {"state": state, "seconds": round(time.monotonic() - began, 1)}
    out.write_text(json.dumps(report, indent=2))


def work(part: Callable[[Place], Iterator[Row]], place: Place) -> None:
    """Only measurements go to the real stdout; what libraries print goes where warnings go."""
    results = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for row in part(place):
        print(json.dumps(row), file=results, flush=True)


def ratios(rows: list[Row]) -> dict[str, float]:
    """Kitae's best to the peer's best."""
    speeds: dict[str, dict[bool, list[float]]] = {}
    for row in rows:
        if "tokens_per_second" in row:
            speeds.setdefault(row["part"], {True: [], False: []})[row["who"] == "kitae"].append(row["tokens_per_second"])
    return {part: round(max(both[True]) / max(both[False]), 3) for part, both in speeds.items() if both[True] and both[False]}


if __name__ == "__main__":
    main()
