"""What `recipe check` expects beside what then happens: python benchmarks/estimate.py ROWS.jsonl [...] [--rows 200] [--json]

Each file is trained for one epoch on the starter and shipped as Q4_K_M; prints the minutes expected, and those it took.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HELD_OUT = 30
REFUSED = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = []
    for file in options.files:
        with tempfile.TemporaryDirectory() as folder:
            found.append({"file": file.name, **journey(file, options.rows, Path(folder))})
        if not options.json:
            print(json.dumps(found[-1]))
    machine = {"platform": platform.platform(), "cores": os.cpu_count(), "python": platform.python_version()}
    if options.json:
        print(json.dumps({"machine": machine, "rows": found, "ratios": {row["file"]: row["ratio"] for row in found}}))


def journey(file: Path, count: int, folder: Path) -> dict[str, object]:
    rows = file.read_text(encoding="utf-8").splitlines()[: count + HELD_OUT]
    for name, part in (("held_out", rows[:HELD_OUT]), ("train", rows[HELD_OUT:])):
        (folder / f"{name}.jsonl").write_text("\n".join(part), encoding="utf-8")
    parts = {"train": "train", "validation": "held_out"}
    data = {part: [{"path": f"{name}.jsonl", "licence": "CC0-1.0"}] for part, name in parts.items()}
    recipe = folder / "recipe.yaml"
    # What a model of this size makes of general questions is not what is measured here.
    limits = {"stop_rate": 0.0, "loop_rate": 1.0}
    ship = {"gguf": ["F16", "Q4_K_M"]}
    recipe.write_text(json.dumps({"name": "e", "data": data, "train": {"epochs": 1}, "verify": limits, "ship": ship}))
    kitae("verify", "smollm2-135m-instruct", "--only", "merge.complete", home=folder)  # what is fetched and converted once
    expected = json.loads(kitae("recipe", "check", str(recipe), home=folder).stdout)
    began = time.monotonic()
    run = json.loads(kitae("train", str(recipe), home=folder).stdout)["run"]
    trained = time.monotonic()
    shipped = kitae("ship", run, home=folder)
    seconds = time.monotonic() - began
    return {
        "rows": len(rows) - HELD_OUT,
        "tokens": expected["tokens"],
        "expected": expected["minutes"],
        "taken": round(seconds / 60, 1),
        "expected_training": round(expected["minutes_asking"] + expected["minutes_training"], 1),
        "taken_training": round((trained - began) / 60, 1),
        "ratio": round(expected["minutes"] / (seconds / 60), 2),
        "whole": shipped.returncode == 0,  # a refusal ends it sooner
    }


def kitae(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "kitae"), *arguments, "--json"]
    done = subprocess.run(
        command, env={**os.environ, "KITAE_HOME": str(home / "home")}, capture_output=True, text=True, check=False
    )
    if done.returncode not in (0, REFUSED):
        sys.exit(done.stdout + done.stderr)
    return done


if __name__ == "__main__":
    main()
