"""How well `kitae data clean` finds known defects: python benchmarks/cleaning.py --rows FILE... --labels FILE

Each file of rows is cleaned as a set of its own, as a person would clean it. FILE of labels has `_id` and `label` of each row,
and `of` where a row is a copy. Labels that begin with `clean` must survive: a row of them that is rejected counts as killed,
unless one of its copies stays. Of a pair of copies one has to go, whichever.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from kitae.workflows.cleaning import CleaningOptions, clean_data

GOALS = {"truncated": 0.8, "wrong_language": 0.8, "pii": 0.8}
GOAL = 0.95
COPIES = ("exact_dup", "near_dup")
NO_RULE = ("wrong_pair", "eval_leak_rephrased")  # what no rule for the text of a row can see


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, required=True, nargs="+")
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--evaluation", type=Path, action="append", default=[])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    labels = {row["_id"]: row for row in lines(options.labels)}
    rejected: dict[str, Any] = {}
    repaired: set[str] = set()
    count, seconds = 0, 0.0
    for path in options.rows:
        with tempfile.TemporaryDirectory() as name:
            out = Path(name) / "out"
            began = time.monotonic()
            report = clean_data([path], out, CleaningOptions(evaluations=options.evaluation))
            seconds += time.monotonic() - began
            count += report["rows"]
            rejected |= {row["_id"]: row["_reasons"] for row in lines(out / "rejected.jsonl")}
            repaired |= {row["after"]["_id"] for row in lines(out / "repaired.jsonl")}
    rows = table(labels, rejected, repaired)
    killed = sum(round(row["found"] * row["rows"]) for row in rows if row["label"].startswith("clean"))
    clean = sum(row["rows"] for row in rows if row["label"].startswith("clean"))
    result = {
        "machine": machine(),
        "count": count,
        "seconds": round(seconds, 2),
        "rows": rows,
        "clean_killed": [killed, clean],
        "ratios": shares(rows),
    }
    if options.json:
        print(json.dumps(result))
        return
    print(f"{'label':22} {'rows':>6} {'rejected':>9} {'repaired':>9} {'found':>7} {'goal':>6}")
    for row in rows:
        found = "–" if row["found"] is None else f"{row['found']:.1%}"
        goal = "–" if row["goal"] is None else f"{row['goal']:.1%}"
        print(f"{row['label']:22} {row['rows']:>6} {row['rejected']:>9} {row['repaired']:>9} {found:>7} {goal:>6}")
    print(json.dumps(result["ratios"]))
    print(f"clean rows killed: {killed} of {clean}; {count} rows in {seconds:.2f} s ({count / seconds:.0f} rows/s)")


def lines(path: Path) -> list[dict[str, Any]]:
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8")
    return [json.loads(line) for line in text.split("\n") if line]


def table(labels: dict[str, Any], rejected: dict[str, Any], repaired: set[str]) -> list[dict[str, Any]]:
    by_label: dict[str, list[str]] = defaultdict(list)
    for name, row in labels.items():
        by_label[row["label"]].append(name)
    originals = {row["base"]: name for name, row in labels.items() if "base" in row}
    copy_of = {name: originals.get(row["of"]) for name, row in labels.items() if row["label"] in COPIES}
    copies: dict[str | None, list[str]] = defaultdict(list)
    for copy, original in copy_of.items():
        copies[original].append(copy)

    def one_gone(copy: str) -> bool:
        return copy in rejected or copy_of[copy] in rejected

    def killed(name: str) -> bool:
        only_copy = all(reason["gate"] == "data.duplicates" for reason in rejected.get(name, []))
        return name in rejected and not (only_copy and any(copy not in rejected for copy in copies[name]))

    found = []
    for label, names in sorted(by_label.items()):
        clean = label.startswith("clean")
        hits = [killed(n) if clean else one_gone(n) if label in COPIES else n in rejected or n in repaired for n in names]
        found.append(
            {
                "label": label,
                "rows": len(names),
                "rejected": sum(name in rejected for name in names),
                "repaired": sum(name in repaired for name in names),
                "found": sum(hits) / len(names),
                "goal": None if label in NO_RULE else (0.0 if "code" in label else 0.005) if clean else GOALS.get(label, GOAL),
            }
        )
    return found


def shares(rows: list[dict[str, Any]]) -> dict[str, float]:
    return {row["label"]: round(row["found"], 4) for row in rows}


def machine() -> dict[str, Any]:
    return {"platform": platform.platform(), "python": platform.python_version(), "cores": os.cpu_count()}


if __name__ == "__main__":
    main()
