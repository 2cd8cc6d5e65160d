"""Servers that answer many clients at once: python benchmarks/serve.py --model FILE.gguf --llama-server PATH … [--json]

Each server is started alone, answers one round that is not counted, and then streams to 1, 8, 32 clients: greedy, as many
new tokens for every request, the same prompts for every server, none twice. A server with several settings is measured in
all of them, and its best one counts. Tokens a second are those that were written by all the seconds, reading included;
`steady` is the speed while every client is being written to. Time to the first text counts from the connection.

llama-batched-bench is llama.cpp's own loop over as many prompts and tokens, without a server and without choosing tokens.
Ratios are ours by theirs; of times, less is better. What is not on the machine is named under `missing`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import psutil

from serve_load import ask_all, prompts
from serve_servers import PATIENT, Peers, Setting, cpu_seconds, free_port, running, settings

SERVERS = ("kitae", "llama_server", "llama_cpp_python", "xllamacpp", "transformers", "vllm")
LOOP = "batched_bench"
WORDS = {"short": 22, "long": 550}  # about 65 and about 600 tokens of SmolLM2
LEAST = {"short": 8, "long": 4}  # requests of a round
REQUESTS = {"short": 2, "long": 1}  # of a client in a round
ENDPOINTS = {"chat": "/v1/chat/completions", "completions": "/v1/completions"}
Row = dict[str, Any]


def main() -> None:
    options = arguments().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that a server is ended with the benchmark
    found, missing = measure(options)
    rows = summaries(found)
    report = {
        "machine": {"platform": platform.platform(), "cores": os.cpu_count(), "python": platform.python_version()},
        "model": options.model.name,
        "tokens": options.tokens,
        "threads": options.threads,
        "endpoint": ENDPOINTS[options.endpoint],
        "rows": rows,
        "ratios": ratios(rows),
        "missing": missing,
    }
    if options.json:
        print(json.dumps(report))
        return
    heads = ("tokens/s", "steady", "first p50", "first p95", "gap p95", "read", "client", "server", "others")
    print(f"{'':54}" + "".join(f"{head:>10}" for head in heads))
    for row in rows:
        names = (
            "tokens_per_second",
            "steady",
            "first_p50",
            "first_p95",
            "gap_p95",
            "read",
            "client_cpu",
            "server_cpu",
            "others_cpu",
        )
        cells = (f"{row[name]:>10.4g}" if row.get(name) is not None else f"{'–':>10}" for name in names)
        print(f"{row['prompt']:5} {row['clients']:>3}  {row['server'] + ', ' + row['setting']:43}" + "".join(cells))
    print(json.dumps({"ratios": report["ratios"], "missing": missing}))


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="a GGUF file")
    parser.add_argument("--clients", type=numbers, default=[1, 8, 32])
    parser.add_argument("--prompts", type=names(WORDS), default=list(WORDS), help=f"of {', '.join(WORDS)}")
    parser.add_argument("--only", type=names((*SERVERS, LOOP)), default=[*SERVERS, LOOP], metavar="NAME,…")
    parser.add_argument("--setting", default="*", metavar="PATTERN", help="of several, those of such names: *patient*")
    parser.add_argument("--rounds", type=int, default=3, help="medians are given")
    parser.add_argument("--tokens", type=int, default=48, help="that each answer has")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--endpoint", choices=ENDPOINTS, default="chat")
    on_path = {name: shutil.which(name) for name in ("llama-server", "llama-batched-bench")}
    parser.add_argument("--llama-server", type=Path, default=on_path["llama-server"])
    parser.add_argument("--batched-bench", type=Path, default=on_path["llama-batched-bench"])
    parser.add_argument("--llama-cpp-python", type=Path, metavar="PYTHON", help="that has llama_cpp.server")
    parser.add_argument("--xllamacpp", type=Path, metavar="PYTHON", help="that has xllamacpp", default=sys.executable)
    parser.add_argument("--vllm", type=Path, help="its program")
    parser.add_argument("--folder", type=Path, help="the same model, for transformers serve and vLLM")
    parser.add_argument("--calm", type=float, default=20, help="seconds that a round waits at most for other programs to rest")
    parser.add_argument("--json", action="store_true")
    return parser


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def names(known: Iterable[str]) -> Any:
    def chosen(text: str) -> list[str]:
        if unknown := set(text.split(",")) - set(known):
            raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: not of {', '.join(known)}")
        return text.split(",")

    return chosen


def measure(options: argparse.Namespace) -> tuple[list[Row], dict[str, str]]:
    """What every round of every setting gave, and why others gave nothing."""
    peers = Peers(options.llama_server, options.llama_cpp_python, options.xllamacpp, options.vllm, options.folder)
    rows: list[Row] = []
    missing: dict[str, str] = {}
    for server in (name for name in SERVERS if name in options.only):
        for clients in options.clients:
            port = free_port()
            tried = settings(server, peers, options.model, clients, options.threads, port)
            if not tried:
                missing[server] = "not on this machine"
            for setting in tried:
                if len(tried) == 1 or fnmatch(setting.label, options.setting):
                    try:
                        rows += serve(setting, port, clients, options)
                    except (OSError, RuntimeError) as error:
                        missing[f"{server}, {setting.label}, {clients}"] = str(error)
    if LOOP in options.only:
        if options.batched_bench is None:
            missing[LOOP] = "not on this machine"
        else:
            rows += [row for prompt in options.prompts for row in loop(prompt, rows, options)]
    return rows, missing


def serve(setting: Setting, port: int, clients: int, options: argparse.Namespace) -> list[Row]:
    rows = []
    with running(setting, port) as process:
        for prompt in options.prompts:
            requests = max(LEAST[prompt], clients * REQUESTS[prompt])
            for number in range(-1, options.rounds):  # the first one warms it up
                texts = prompts(requests if number >= 0 else clients, WORDS[prompt], number)
                bodies = [body(text, setting, options) for text in texts]
                wait_for_calm(options.calm)
                busy, before, began = processors(), cpu_seconds(process), time.perf_counter()
                seen = ask_all(port, ENDPOINTS[options.endpoint], bodies, clients, options.tokens)
                seconds = time.perf_counter() - began
                worked = cpu_seconds(process) - before
                others = (processors() - busy - worked) / seconds - seen.client_cpu
                cpu = {"server_cpu": worked / seconds, "others_cpu": others, "tokens_per_cpu_second": seen.tokens / worked}
                if number >= 0:
                    names = {"server": setting.server, "setting": setting.label, "clients": clients, "prompt": prompt}
                    rows.append({**names, **asdict(seen), **cpu})
                    print(rows[-1], file=sys.stderr, flush=True)
    return rows


def body(text: str, setting: Setting, options: argparse.Namespace) -> dict[str, object]:
    asked = {"messages": [{"role": "user", "content": text}]} if options.endpoint == "chat" else {"prompt": text}
    told = {"model": setting.model, "max_tokens": options.tokens, "temperature": 0, "stream": True}
    return {**asked, **told, "stream_options": {"include_usage": True}, **setting.body}


def processors() -> float:
    """Seconds that all the processors have worked so far, for anybody."""
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    return float(sum(times[: times._fields.index("guest")] if "guest" in times._fields else times) - idle)


def wait_for_calm(patience: float) -> None:
    """Until other programs leave the processors alone, or so many seconds are over."""
    until = time.perf_counter() + patience
    calm = False
    while not calm and time.perf_counter() < until:
        busy = processors()
        time.sleep(0.5)
        calm = processors() - busy < 0.1


def loop(prompt: str, rows: Sequence[Row], options: argparse.Namespace) -> list[Row]:
    """llama.cpp's own loop over prompts as long as the servers counted them."""
    counted = [row["read"] for row in rows if row["prompt"] == prompt and row["read"]]
    read = round(statistics.median(counted)) if counted else {"short": 65, "long": 600}[prompt]
    each = (read + options.tokens) * max(options.clients)
    command = [str(options.batched_bench), "-m", str(options.model), "-t", str(options.threads), "--output-format", "jsonl"]
    work = ["-c", str(each), "-npp", str(read), "-ntg", str(options.tokens), "-npl", ",".join(map(str, options.clients))]
    found = []
    for label, env in (("spinning threads", {}), ("patient threads", PATIENT)):
        if not fnmatch(label, options.setting):
            continue
        for _ in range(options.rounds):
            wait_for_calm(options.calm)
            whole = {**os.environ, **env}
            done = subprocess.run(
                [*command, *work], env=whole, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True
            )
            for told in (json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")):
                names = {"server": LOOP, "setting": label, "clients": told["pl"], "prompt": prompt}
                speed = told["pl"] * told["tg"] / told["t"]
                found.append({**names, "tokens_per_second": speed, "steady": told["speed_tg"], "read": read})
                print(found[-1], file=sys.stderr, flush=True)
    return found


def summaries(rows: Sequence[Row]) -> list[Row]:
    """Medians of the rounds."""
    names = ("server", "setting", "clients", "prompt")
    grouped: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        grouped.setdefault(tuple(row[name] for name in names), []).append(row)
    return [
        dict(zip(names, key, strict=True))
        | {name: middle(name, group) for name in group[0] if name not in names}
        | {"rounds": len(group)}
        for key, group in grouped.items()
    ]


def middle(name: str, group: Sequence[Row]) -> Any:
    values = [row[name] for row in group if row[name] is not None]
    if not values or isinstance(values[0], str):
        return values[0] if values else None
    return sum(values) if name == "short" else round(statistics.median(values), 4)


def ratios(rows: Sequence[Row]) -> dict[str, float]:
    """Ours by the best setting of theirs, for every number of clients; `_long`: long prompts."""
    best: dict[tuple[str, int, str], Row] = {}
    for row in rows:
        place = (row["server"], row["clients"], row["prompt"])
        if place not in best or row["tokens_per_second"] > best[place]["tokens_per_second"]:
            best[place] = row
    found: dict[str, float] = {}
    most = max((row["clients"] for row in rows), default=0)
    for (server, clients, prompt), theirs in best.items():
        ours = best.get(("kitae", clients, prompt))
        if ours is None or server == "kitae":
            continue
        tail = "" if prompt == "short" else f"_{prompt}"
        found[f"{server}_{clients}{tail}"] = ours["tokens_per_second"] / theirs["tokens_per_second"]
        if "first_p95" in theirs:
            found[f"{server}_{clients}{tail}_first_p95"] = ours["first_p95"] / theirs["first_p95"]
        if server == LOOP and ours["steady"]:
            found[f"{server}_{clients}{tail}_steady"] = ours["steady"] / theirs["steady"]
        if server == LOOP and clients == most:
            found[f"{server}{tail}"] = found[f"{server}_{clients}{tail}"]
        if server == LOOP and clients == 1 and ours["steady"]:
            found[f"one_client{tail}"] = ours["steady"] / theirs["steady"]
    return {name: round(value, 3) for name, value in found.items()}


if __name__ == "__main__":
    main()
