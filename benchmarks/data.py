"""Kitae, text-dedup and datatrove find near-duplicates in the same rows: python benchmarks/data.py --rows FILE… --peers PYTHON

Conversations are made of those in FILE: a third of the words of each is replaced, so that no two are alike; one in ten has,
somewhere, a near copy (one word of twenty in long answers replaced, or other case and punctuation), and one in fifty an exact
one. So it is known which rows are copies. Each tool runs as its users run it, with every core, from the same JSON lines to its
result on disk. `recall` is the share of copies of which one side is gone, `lost` the share of other rows that were taken for
copies; `prose` is the recall without copies of code, which with another word or case is another program. Kitae runs twice:
looking for duplicates only, and with all its rules. PYTHON is an interpreter that has the peers.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Made = list[dict[str, Any]]
# In a process of its own, because it is the largest of all children that is told.
MEASURE = """
import json, resource, subprocess, sys
done = subprocess.run(json.loads(sys.argv[1]), stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(done.returncode)
"""
TEXT_DEDUP = "text-dedup, xxh3"
DATATROVE = "datatrove"
OURS, CLEAN = "kitae data dedupe", "kitae data clean"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, nargs="+", required=True)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument(
        "--peers", type=Path, help="an interpreter that has text-dedup and datatrove; without it, Kitae runs alone"
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--datatrove", type=Path, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.datatrove is not None:
        run_datatrove(*options.datatrove)
        return
    tools = [OURS, CLEAN, *([TEXT_DEDUP, DATATROVE] if options.peers else [])]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copies, code = lay_out(options.rows, options.count, folder / "rows.jsonl")
        found: dict[str, list[dict[str, Any]]] = {tool: [] for tool in tools}
        for turn in range(options.rounds):
            for tool in tools if turn % 2 == 0 else reversed(tools):
                found[tool].append(trial(tool, folder, copies, code, options.peers))
                print(f"{tool}: {found[tool][-1]}", file=sys.stderr, flush=True)
    rows = [summary(tool, trials) for tool, trials in found.items()]
    report = {"machine": machine(), "count": options.count, "rows": rows, "ratios": ratios(rows)}
    if options.json:
        print(json.dumps(report))
        return
    print(f"{'':24} {'rows/s':>8} {'seconds':>8} {'peak MB':>8} {'recall':>7} {'prose':>7} {'lost':>7}")
    for row in rows:
        speed = f"{row['rows_per_second']:>8.0f} {row['seconds']:>8.1f} {row['peak_mb']:>8}"
        print(f"{row['tool']:24} {speed} {row['recall']:>7.3f} {row['prose']:>7.3f} {row['lost']:>7.4f}")
    print(json.dumps(report["ratios"]))


def lay_out(sources: Sequence[Path], count: int, path: Path) -> tuple[dict[int, int], set[int]]:
    """Writes the rows; of each copy, the number of the row that it is one of; and the copies in which there is code."""
    from kitae.data import read_conversations  # here, because the peers' interpreter has no Kitae
    from kitae.data.same import looks_like_code

    rng = random.Random(7)
    real = [[m.as_dict() for m in row.messages] for file in sources for row in read_conversations(file, reject=lambda e: None)]
    words = [word for talk in real for message in talk for word in message["content"].split() if word.isalpha()]
    made: list[tuple[int, int | None, Made]] = []
    while len(made) < count:
        talk = changed(rng.choice(real), 3, words, rng)
        number = len(made)
        made.append((number, None, talk))
        draw = rng.random()
        if draw < 0.02:
            made.append((len(made), number, talk))
        elif draw < 0.12:
            made.append((len(made), number, nearly(talk, words, rng)))
    made = made[:count]
    rng.shuffle(made)
    places = {number: place for place, (number, _, _) in enumerate(made)}
    with path.open("w", encoding="utf-8") as file:
        for place, (_, _, talk) in enumerate(made):
            text = "\n".join(message["content"] for message in talk)
            file.write(json.dumps({"id": str(place), "messages": talk, "text": text}, ensure_ascii=False) + "\n")
    copies = {places[number]: places[of] for number, of, _ in made if of is not None and of in places}
    code = {places[number] for number, _, talk in made if any(looks_like_code(m["content"]) for m in talk)}
    return copies, code & copies.keys()


def changed(talk: Made, one_in: int, words: Sequence[str], rng: random.Random) -> Made:
    def other(text: str) -> str:
        parts = text.split(" ")
        for _ in range(max(1, len(parts) // one_in)):
            parts[rng.randrange(len(parts))] = rng.choice(words)
        return " ".join(parts)

    return [{**message, "content": other(message["content"])} for message in talk]


def nearly(talk: Made, words: Sequence[str], rng: random.Random) -> Made:
    if rng.random() < 0.5:
        return [{**message, "content": message["content"].replace(".", " .").upper() + " "} for message in talk]
    answers = [message for message in talk if message["role"] == "assistant" and len(message["content"].split(" ")) >= 20]
    return [changed([message], 20, words, rng)[0] if message in answers else message for message in talk]


def trial(tool: str, folder: Path, copies: dict[int, int], code: set[int], peers: Path | None) -> dict[str, Any]:
    out = folder / "out"
    rows = str(folder / "rows.jsonl")
    ours = [sys.executable, "-m", "kitae.cli.main", "data"]
    command = {
        OURS: [*ours, "dedupe", rows, "--out", str(out), "--quiet"],
        CLEAN: [*ours, "clean", rows, "--out", str(out), "--quiet"],
        TEXT_DEDUP: [str(peers), "-m", "text_dedup.minhash", "--path", "json", "--data_files", rows,
                     "--split", "train", "--column", "text", "--output", str(out), "--hash_func", "xxh3", "--min_length", "0",
                     "--cache_dir", str(folder / "cache")],
        DATATROVE: [str(peers), __file__, "--rows", "-", "--datatrove", rows, str(out)],
    }[tool]  # fmt: skip
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    began = time.monotonic()
    measured = [sys.executable, "-c", MEASURE, json.dumps(command)]
    done = subprocess.run(measured, capture_output=True, env=environment, text=True)
    seconds = time.monotonic() - began
    if done.returncode:
        raise SystemExit(f"{tool}: {done.stderr[-2000:]}")
    peak = int(done.stdout.split()[-1]) // 1024
    kept, copied = left(tool, out, peers)
    subprocess.run(["rm", "-rf", str(out), str(folder / "cache"), str(folder / ".out.work")], check=True)
    total = max((*copies, *copies.values())) + 1
    dropped = {copy for copy, of in copies.items() if not (copy in kept and of in kept)}
    others = set(range(total)) - {*copies, *copies.values()}
    gone = copied if copied is not None else others - kept
    rate = total / seconds
    return {
        "seconds": seconds,
        "rows_per_second": rate,
        "peak_mb": peak,
        "recall": len(dropped) / len(copies),
        "prose": len(dropped - code) / max(1, len(copies.keys() - code)),
        "lost": len(gone & others) / len(others),
    }


def left(tool: str, out: Path, peers: Path | None) -> tuple[set[int], set[int] | None]:
    """The numbers of rows that a tool kept; and of those that it took for copies, where it says so."""
    if tool in (OURS, CLEAN):
        rejected = [json.loads(line) for line in (out / "rejected.jsonl").open(encoding="utf-8")]
        copied = {int(row["id"]) for row in rejected if any(why["gate"] == "data.duplicates" for why in row["_reasons"])}
        return {int(json.loads(line)["id"]) for line in (out / "kept.jsonl").open(encoding="utf-8")}, copied
    if tool == TEXT_DEDUP:
        script = "import datasets,sys,json; print(json.dumps(datasets.load_from_disk(sys.argv[1])['id'][:]))"
        done = subprocess.run([str(peers), "-c", script, str(out)], capture_output=True, check=True)
        return set(map(int, json.loads(done.stdout))), None
    return {int(json.loads(line)["id"]) for file in out.rglob("kept/*.jsonl") for line in file.open(encoding="utf-8")}, None


def run_datatrove(source: Path, out: Path) -> None:
    """Its four steps, each with every core; words are split at spaces, as text-dedup does it."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter

    config = MinhashConfig()
    cores = os.cpu_count() or 1
    halves = out / "in"
    halves.mkdir(parents=True)
    lines = source.read_text(encoding="utf-8").splitlines(keepends=True)  # it deals files, not rows, to its processes
    for i in range(cores):
        (halves / f"{i}.jsonl").write_text("".join(lines[i::cores]), encoding="utf-8")
    steps: list[tuple[list[Any], int]] = [
        ([JsonlReader(str(halves)), MinhashDedupSignature(str(out / "signatures"), config)], cores),
        ([MinhashDedupBuckets(str(out / "signatures"), str(out / "buckets"), config=config)], config.num_buckets),
        ([MinhashDedupCluster(str(out / "buckets"), str(out / "ids"), config=config)], 1),
        (
            [JsonlReader(str(halves)), MinhashDedupFilter(str(out / "ids")), JsonlWriter(str(out / "kept"), compression=None)],
            cores,
        ),
    ]
    for number, (pipeline, tasks) in enumerate(steps):
        LocalPipelineExecutor(pipeline, tasks=tasks, workers=cores, logging_dir=str(out / f"log{number}")).run()


def summary(tool: str, trials: list[dict[str, Any]]) -> dict[str, Any]:
    middle = {key: statistics.median(trial[key] for trial in trials) for key in trials[0]}
    rates = [trial["rows_per_second"] for trial in trials]
    return {"tool": tool, **middle, "slowest": min(rates), "fastest": max(rates)}


def ratios(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    rates = {row["tool"]: row["rows_per_second"] for row in rows}
    peers = [rate for tool, rate in rates.items() if tool in (TEXT_DEDUP, DATATROVE)]
    return {f"{tool}, of the fastest peer": round(rates[tool] / max(peers), 2) for tool in (OURS, CLEAN) if peers}


def machine() -> dict[str, Any]:
    return {"platform": platform.platform(), "python": platform.python_version(), "cores": os.cpu_count()}


if __name__ == "__main__":
    main()
