"""Tokens a second of one process that writes many answers together: python benchmarks/generate.py MODEL [...] [--json]

MODEL: a folder (torch) or a GGUF file (llama.cpp). Prompts are read, too; the median of three rounds in turns.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path

COUNTS = (1, 8, 32, 64)
ROUNDS = 3
TOKENS = 48


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    speeds = {model.name: measure(model) for model in options.models}
    machine = {"platform": platform.platform(), "cores": os.cpu_count(), "python": platform.python_version()}
    if options.json:
        rows = [{"model": name, "tokens_per_second": found} for name, found in speeds.items()]
        ratios = {name: round(max(found.values()) / found[1], 2) for name, found in speeds.items()}
        print(json.dumps({"machine": machine, "rows": rows, "ratios": ratios}))
        return
    print(f"{'model':<40}" + "".join(f"{count:>8}" for count in COUNTS))
    for name, found in speeds.items():
        print(f"{name:<40}" + "".join(f"{found[count]:>8.0f}" for count in COUNTS))


def measure(model: Path) -> dict[int, float]:
    from kitae.chat import Message
    from kitae.generate import Settings, complete, open_engine
    from kitae.models import Target

    engine = open_engine(Target(model))
    engine.stop_tokens = set()
    texts = [f"Tell me a story about the number {number}, and of all that it has seen." for number in range(max(COUNTS))]
    prompts = [engine.codec.prompt([Message("user", text)]) for text in texts]
    found: dict[int, list[float]] = {count: [] for count in COUNTS}
    for _ in range(ROUNDS):
        for count in COUNTS:
            began = time.perf_counter()
            answers = complete(engine, prompts[:count], Settings(max_tokens=TOKENS))
            found[count].append(sum(len(answer.tokens) for answer in answers) / (time.perf_counter() - began))
    engine.close()
    return {count: statistics.median(values) for count, values in found.items()}


if __name__ == "__main__":
    main()
