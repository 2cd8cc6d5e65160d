"""Rows for the recipes beside this script: python prepare.py [--out FOLDER] [--train N] [--held-out N]

Messages and the appointments in them (`train`, `validation`, `test`), the same with a worse answer (`preferences`,
`preferences-held-out`), and plain text (`text`, `text-held-out`). All of them are made up here, so they are free to use.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

from kitae.data.appointments import write_splits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--train", type=int, default=400)
    parser.add_argument("--held-out", type=int, default=48)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    write_splits(options.out, {"train": options.train, "validation": options.held_out, "test": options.held_out})
    rng = random.Random(0)
    for name, source in (("", "train"), ("-held-out", "validation")):
        rows = [json.loads(line) for line in (options.out / f"{source}.jsonl").read_text().splitlines()]
        _write(options.out / f"preferences{name}.jsonl", [preference(row["messages"], rng) for row in rows])
        _write(options.out / f"text{name}.jsonl", [{"text": diary(row["messages"])} for row in rows])


def preference(messages: list[dict[str, str]], rng: random.Random) -> dict[str, Any]:
    """The worse answer leaves out something that was said, or talks instead of answering."""
    right = messages[-1]["content"]
    appointment = json.loads(right)
    said = [name for name, value in appointment.items() if value is not None]
    wrong = json.dumps({**appointment, rng.choice(said): None}, ensure_ascii=False, separators=(",", ":"))
    worse = rng.choice([wrong, f"Sure! Here is your appointment: {right}"])
    return {"prompt": messages[:-1], "chosen": right, "rejected": worse}


def diary(messages: list[dict[str, str]]) -> str:
    appointment = json.loads(messages[-1]["content"])
    parts = [f"{name}: {value}" for name, value in appointment.items() if value is not None]
    return f"{messages[-2]['content']} ({'; '.join(parts)})"


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


if __name__ == "__main__":
    main()
