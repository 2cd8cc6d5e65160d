"""Kitae's reader of GGUF heads beside the gguf package's: python benchmarks/gguf_header.py [FILE …] [--json]

Without a file it reads the starter's. Each reader takes every file three times, in turns; both must find the same.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from gguf import GGUFReader

from kitae.models import STARTERS, read_gguf_header

ROUNDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = [measure(path) for path in options.files or [locate() for locate, _ in STARTERS.values()]]
    if options.json:
        machine = {"platform": platform.platform(), "cores": os.cpu_count(), "python": platform.python_version()}
        ratios = {"gguf_over_kitae": [row["gguf"] / row["kitae"] for row in rows]}
        print(json.dumps({"machine": machine, "rows": rows, "ratios": ratios}))
        return
    for row in rows:
        print(f"{row['file']:50} kitae {row['kitae']:.2f} s   gguf {row['gguf']:.2f} s   × {row['gguf'] / row['kitae']:.0f}")


def measure(path: Path) -> dict[str, Any]:
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(ROUNDS):
            link = Path(folder) / f"{number}.gguf"  # a name that was not read before: Kitae remembers heads
            link.symlink_to(path.absolute())
            began = time.perf_counter()
            header = read_gguf_header(link)
            ours.append(time.perf_counter() - began)
            began = time.perf_counter()
            reader = GGUFReader(link)
            theirs.append(time.perf_counter() - began)
    assert [(t.name, t.shape, t.type, t.size) for t in header.tensors] == [
        (t.name, tuple(t.shape.tolist()), t.tensor_type.name, t.n_bytes) for t in reader.tensors
    ]
    return {"file": path.name, "kitae": statistics.median(ours), "gguf": statistics.median(theirs)}


if __name__ == "__main__":
    main()
