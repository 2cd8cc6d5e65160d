"""Rows of any files as plain text, shuffled, with a part held out: python prepare.py FILE.jsonl[.gz] … [--share 0.05]

Writes train.jsonl and held_out.jsonl beside this file. Of each row it takes `text`, what Dolly calls instruction,
context (input) and response (output), and of preferences the answer that was chosen.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
from pathlib import Path

FIELDS = ("text", "instruction", "context", "input", "response", "output", "chosen")
LONGEST = 20_000  # characters; a longer document is cut between paragraphs, after it was decided in which part it is


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--share", type=float, default=0.05, help="of each file's documents that are held out")
    options = parser.parse_args()
    here = Path(__file__).parent
    with (here / "train.jsonl").open("w") as train, (here / "held_out.jsonl").open("w") as held_out:
        for file in options.files:
            documents = texts(file)
            random.Random(0).shuffle(documents)
            kept = max(1, round(len(documents) * options.share))
            for number, document in enumerate(documents):
                for part in cut(document):
                    print(json.dumps({"text": part}, ensure_ascii=False), file=held_out if number < kept else train)


def texts(file: Path) -> list[str]:
    with gzip.open(file, "rt", encoding="utf-8") if file.suffix == ".gz" else file.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    joined = ["\n\n".join(row[field].strip() for field in FIELDS if row.get(field)) for row in rows]
    return [text for text in joined if text]


def cut(text: str) -> list[str]:
    parts, start = [], 0
    while len(text) - start > LONGEST:
        end = text.rfind("\n", start, start + LONGEST) + 1
        end = end if end > start else start + LONGEST
        parts.append(text[start:end])
        start = end
    return [part for part in (*parts, text[start:]) if part.strip()]


if __name__ == "__main__":
    main()
