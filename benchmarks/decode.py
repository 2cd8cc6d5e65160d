"""Tokens a second from a GGUF file, by how long its threads spin: python benchmarks/decode.py MODEL.gguf [--json]

Each setting answers one prompt, then 48 at once, first on the machine as it is, then beside as many busy loops as it has cores.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

SETTINGS: dict[str, dict[str, str]] = {
    "Kitae's own": {},
    "OMP_WAIT_POLICY=passive": {"OMP_WAIT_POLICY": "passive"},
    "OMP_WAIT_POLICY=active": {"OMP_WAIT_POLICY": "active"},
    "GOMP_SPINCOUNT=10000": {"GOMP_SPINCOUNT": "10000"},
    "GOMP_SPINCOUNT=100000": {"GOMP_SPINCOUNT": "100000"},
}
BUSY = [sys.executable, "-c", "while True: pass"]
PATIENCE = 120  # seconds; threads that spin on a busy machine may take for ever


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.model)))
        return
    rows = [row(options.model, name, busy) for busy in (False, True) for name in SETTINGS]
    if options.json:
        machine = {"platform": platform.platform(), "cores": os.cpu_count(), "python": platform.python_version()}
        print(json.dumps({"machine": machine, "rows": rows, "ratios": {}}))
        return
    for found in rows:
        print(f"{'busy' if found['busy'] else 'quiet':6} {found['setting']:26} one {found['one']}  48 at once {found['many']}")


def row(model: Path, setting: str, busy: bool) -> dict[str, object]:
    loops = [subprocess.Popen(BUSY) for _ in range(os.cpu_count() or 1)] if busy else []
    try:
        done = subprocess.run(
            [sys.executable, __file__, str(model), "--measure"],
            env={**os.environ, **SETTINGS[setting]},
            capture_output=True,
            text=True,
            check=True,
            timeout=PATIENCE,
        )
        speeds = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        speeds = {"one": None, "many": None}
    finally:
        for loop in loops:
            loop.kill()
    return {"setting": setting, "busy": busy, **speeds}


def measure(model: Path) -> dict[str, float]:
    from kitae.chat import Message
    from kitae.generate import Settings, complete, open_engine
    from kitae.models import Target

    engine = open_engine(Target(model))
    prompts = [engine.codec.prompt([Message("user", f"Tell me a story about the number {n}.")]) for n in range(48)]
    speeds = {}
    for name, chosen in (("one", prompts[:1]), ("many", prompts)):
        began = time.perf_counter()
        answers = complete(engine, chosen, Settings(max_tokens=60))
        speeds[name] = round(sum(len(answer.tokens) for answer in answers) / (time.perf_counter() - began), 1)
    return speeds


if __name__ == "__main__":
    main()
