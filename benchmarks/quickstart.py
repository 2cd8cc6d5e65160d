"""The bundled journey, timed by stage: python benchmarks/quickstart.py [--seeds 0,1] [--prompts 200] [--json]

Prints each form's exact match, stop rate, size and speed, and how long each stage took.
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

REFUSED = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="0", help="comma-separated training seeds, one journey each")
    parser.add_argument("--prompts", type=int, default=200, help="test messages that each form answers")
    parser.add_argument("--full", action="store_true", help="train on all rows, not on as many as fit into a few minutes")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = []
    for seed in options.seeds.split(","):
        with tempfile.TemporaryDirectory() as folder:
            rows.append(journey(seed, options.prompts, options.full, Path(folder)))
        if not options.json:
            show(rows[-1])
    ratios = {
        "quantised_exact_over_trained": [
            form(row, "Q4_K_M")["exact_match"] / form(row, "trained")["exact_match"] for row in rows
        ]
    }
    machine = {"platform": platform.platform(), "cores": os.cpu_count(), "python": platform.python_version()}
    if options.json:
        print(json.dumps({"machine": machine, "rows": rows, "ratios": ratios}))


def journey(seed: str, prompts: int, full: bool, folder: Path) -> dict[str, object]:
    began = time.monotonic()
    command = [str(Path(sys.executable).parent / "kitae"), "quickstart", "--json", "--seed", seed, "--prompts", str(prompts)]
    done = subprocess.run(
        [*command, *(["--full"] if full else []), "--out", str(folder / "data")],
        env={**os.environ, "KITAE_HOME": str(folder / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = round(time.monotonic() - began, 1)
    if done.returncode == REFUSED:  # its report has the scores all the same
        (report,) = (folder / "home" / "runs").glob("*/reports/report.json")
        found = json.loads(report.read_text())
        rows = sum(1 for _ in (report.parent.parent / "data" / "train.jsonl").open())
        refused = [gate["id"] for gate in found["gates"] if gate["verdict"] == "refuse"]
        return {
            "seed": int(seed),
            "prompts": prompts,
            "refused": refused,
            "rows": rows,
            "table": found["table"],
            "seconds": seconds,
        }
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return {"seed": int(seed), "prompts": prompts, "refused": [], **json.loads(done.stdout)}


def form(row: dict[str, object], name: str) -> dict[str, float]:
    table = row["table"]
    assert isinstance(table, list)
    found: dict[str, float] = next(entry for entry in table if entry["form"] == name)
    return found


def show(row: dict[str, object]) -> None:
    verdict = f"refused by {row['refused']}" if row["refused"] else "proven"
    print(f"seed {row['seed']}: {verdict} in {row['seconds']} s, {row['rows']} rows, {row['prompts']} test messages")
    table = row["table"]
    assert isinstance(table, list)
    for entry in table:
        print(
            f"  {entry['form']:8} exact {entry['exact_match']:6.1%}  stops {entry['stop_rate']:6.1%}  "
            f"{entry['size_mb']:7.1f} MB  {entry['tokens_per_second'] or '–':>7} tokens/s"
        )


if __name__ == "__main__":
    main()
