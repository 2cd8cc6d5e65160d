"""New-LLM beside other architectures, on the bytes of a text: python benchmarks/newllm.py PART --text FILE … [--json]

    compare   bits per byte at equal parameters, bytes and steps, each with several learning rates and seeds
    solver    passes until contexts are found, and how far few passes are from a walk through time, on a trained model
    speed     training bytes a second: passes against a walk, and against a Llama-style transformer
    decode    a million tokens: seconds and memory per hundred thousand
    track     parity and S5: learnt on up to 32 tokens, asked on 256

FILE: .txt, or .jsonl(.gz) whose texts are taken. Everything is trained here, in fp32; `--steps`, `--seeds` and `--width` set
the size. Every architecture sees the same bytes in the same order.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from kitae.models.newllm.config import NewLLMConfig
from kitae.models.newllm.modeling import NewLLMForCausalLM
from kitae.models.newllm.solve import Plan

BATCH, LENGTH = 32, 128
RATES = (1e-3, 3e-3, 1e-2)
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--text", type=Path, nargs="+", default=[])
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--steps", type=int, default=160)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not options.text and options.part != "track":
        parser.error("--text: which text to learn from")
    rows = PARTS[options.part](options)
    if options.json:
        machine = {"platform": platform.platform(), "cores": os.cpu_count(), "python": platform.python_version()}
        print(json.dumps({"machine": machine, "rows": rows, "ratios": {}}))
        return
    columns = list(dict.fromkeys(key for row in rows for key in row))
    print("  ".join(f"{column:>16}" for column in columns))
    for row in rows:
        print("  ".join(f"{_shown(row.get(column)):>16}" for column in columns))


# Models of about the same size


def newllm(width: int, **settings: Any) -> NewLLMForCausalLM:
    return NewLLMForCausalLM(NewLLMConfig(**{"vocab_size": 256, "hidden_size": width} | settings))


def llama(width: int, layers: int, positions: int = 1 << 14) -> LlamaForCausalLM:
    shape = {"num_hidden_layers": layers, "num_attention_heads": 4, "intermediate_size": -(-width * 8 // 3 // 32) * 32}
    return LlamaForCausalLM(
        LlamaConfig(vocab_size=256, hidden_size=width, max_position_embeddings=positions, tie_word_embeddings=True, **shape)
    )


def size(model: torch.nn.Module) -> int:
    return sum(weights.numel() for weights in model.parameters())


def as_large(target: int, make: Callable[[int], torch.nn.Module]) -> int:
    """The width, a multiple of 8, at which an architecture has about as many parameters."""
    return min(range(32, 1024, 8), key=lambda width: abs(size(_empty(make, width)) - target))


def contestants(width: int) -> dict[str, Callable[[], torch.nn.Module]]:
    makers: dict[str, Callable[[int], torch.nn.Module]] = {
        "newllm gated": lambda w: newllm(w, blocks=[2, 2]),
        "newllm residual": lambda w: newllm(w, blocks=[2, 2], cell="residual"),
        "mingru": lambda w: newllm(w, blocks=[2, 2], cell="mingru"),
        "gru": lambda w: newllm(w, blocks=[1, 1], cell="gru"),
        "llama": lambda w: llama(w, 2),
    }
    target = size(_empty(makers["newllm gated"], width))
    return {name: _fixed(make, as_large(target, make)) for name, make in makers.items()}


def _fixed(make: Callable[[int], torch.nn.Module], width: int) -> Callable[[], torch.nn.Module]:
    return lambda: make(width)


def _empty(make: Callable[[int], torch.nn.Module], width: int) -> torch.nn.Module:
    with torch.device("meta"):
        return make(width)


# Parts


def compare(options: argparse.Namespace) -> list[Row]:
    train, held_out = corpus(options.text)
    rows = []
    for name, make in contestants(options.width).items():
        by_rate = {}
        began = time.perf_counter()
        for rate in RATES:
            scores = []
            for seed in range(options.seeds):
                torch.manual_seed(seed)
                model = make()
                fit(model, batches(train, seed), options.steps, rate)
                scores.append(bits_per_byte(model, held_out))
            by_rate[rate] = scores
        best = min(RATES, key=lambda rate: statistics.mean(by_rate[rate]))
        scores = by_rate[best]
        row = {"model": name, "parameters": size(make()), "rate": best, "bits/byte": statistics.mean(scores)}
        row |= {"±": max(scores) - min(scores), "seconds": time.perf_counter() - began}
        print(row, flush=True, file=sys.stderr)
        rows.append(row)
    return rows


def solver(options: argparse.Namespace) -> list[Row]:
    train, held_out = corpus(options.text)
    rows = []
    for cell in ("gated", "residual"):
        torch.manual_seed(0)
        model = newllm(options.width, cell=cell)
        fit(model, batches(train, 0), options.steps, 3e-3)
        for length in (128, 1024, 8192):
            ids = held_out[:length][None] if length > 1024 else held_out[: 8 * length].view(8, length)
            rows.append({"cell": cell, "length": length, **_passes(model, ids)})
        walked = bits_per_byte(model, held_out, Plan("sequential"))
        for number in (1, 2, 3, 4):
            few = bits_per_byte(model, held_out, Plan("gate-scan", number))
            rows.append({"cell": cell, "passes": number, "bits/byte": few, "walked": walked, "gap": few - walked})
    return rows


def _passes(model: NewLLMForCausalLM, ids: torch.Tensor) -> Row:
    """Passes until 99.9 % of all tokens are as near to the walked contexts."""
    with torch.no_grad():
        with model.model.solving(Plan("sequential")) as solutions:
            model(ids)
            walked = [solution.contexts for solution in solutions]
        found: Row = {}
        for limit in (1e-2, 1e-4):
            for number in range(1, 65):
                with model.model.solving(Plan("gate-scan", number)) as solutions:
                    model(ids)
                    errors = [
                        (solution.contexts - true).norm(dim=-1) / true.norm(dim=-1).clamp(min=1e-6)
                        for solution, true in zip(solutions, walked, strict=True)
                    ]
                if all(float(error.flatten().quantile(0.999)) <= limit for error in errors):
                    found[f"to {limit:g}"] = number
                    break
    return found


def speed(options: argparse.Namespace) -> list[Row]:
    train, _ = corpus(options.text)
    rows = []
    for length in (512, 2048, 8192):
        ids = train[: max(8192, length)].view(-1, length)
        ours = newllm(options.width)
        times = {"passes": [], "walk": [], "llama": []}  # type: dict[str, list[float]]
        theirs = llama(options.width, 2)
        for _ in range(3):
            with ours.model.solving(Plan("gate-scan", 3)):
                times["passes"].append(_step_seconds(ours, ids))
            times["llama"].append(_step_seconds(theirs, ids))
            if length <= 2048:
                with ours.model.solving(Plan("sequential")):
                    times["walk"].append(_step_seconds(ours, ids))
        medians = {name: ids.numel() / statistics.median(found) for name, found in times.items() if found}
        row = {"length": length, **{f"{name}/s": rate for name, rate in medians.items()}}
        row["passes/llama"] = medians["passes"] / medians["llama"]
        if "walk" in medians:
            row["passes/walk"] = medians["passes"] / medians["walk"]
        rows.append(row)
    return rows


def _step_seconds(model: Any, ids: torch.Tensor) -> float:
    began = time.perf_counter()
    model(ids, labels=ids).loss.backward()
    model.zero_grad()
    return time.perf_counter() - began


def decode(options: argparse.Namespace) -> list[Row]:
    train, _ = corpus(options.text)
    torch.manual_seed(0)
    model = newllm(options.width).eval()
    fit(model, batches(train, 0), options.steps, 3e-3)
    model.eval()
    token, cache, rows = train[None, :1], None, []
    process = psutil.Process()
    with torch.inference_mode():
        for part in range(10):
            began = time.perf_counter()
            for _ in range(100_000):
                out = model(token, past_key_values=cache, use_cache=True)
                cache, token = out.past_key_values, out.logits[:, -1].argmax(-1, keepdim=True)
            seconds = time.perf_counter() - began
            row = {"tokens": (part + 1) * 100_000, "tokens/s": 100_000 / seconds, "MB": process.memory_info().rss / 1e6}
            print(row, flush=True, file=sys.stderr)
            rows.append(row)
    return rows


def track(options: argparse.Namespace) -> list[Row]:
    """Every token's state is asked for, so a model must carry it on; parity has 2 states, S5 the 120 orders of 5 things."""
    rows = []
    for task in ("parity", "s5"):
        makers: dict[str, Callable[[], Any]] = {
            "newllm gated": lambda: newllm(options.width, blocks=[2, 2]),
            "newllm gated, 1 pass": lambda: newllm(options.width, blocks=[2, 2], passes=1),
            "newllm seed": lambda: newllm(options.width, blocks=[2], cell="seed-residual", solver="sequential"),
            "mingru": lambda: newllm(options.width, blocks=[2, 2], cell="mingru"),
            "gru": lambda: newllm(options.width, blocks=[1, 1], cell="gru"),
            "llama": lambda: llama(options.width, 2),
        }
        for name, make in makers.items():
            torch.manual_seed(0)
            model = make()
            optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
            generator = torch.Generator().manual_seed(0)
            for step in range(options.steps):
                length = int(torch.randint(2, 33, (1,), generator=generator))
                ids, states = puzzle(task, 64, length, generator)
                _set_rate(optimiser, 3e-3, step, options.steps)
                loss: Any = torch.nn.functional.cross_entropy(model(ids).logits.flatten(0, 1), states.flatten())
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimiser.step()
                optimiser.zero_grad()
            row: Row = {"task": task, "model": name}
            model.eval()
            with torch.no_grad():
                for length in (32, 64, 256):
                    ids, states = puzzle(task, 64, length, generator)
                    row[f"at {length}"] = float((model(ids).logits.argmax(-1)[:, -1] == states[:, -1]).float().mean())
            print(row, flush=True, file=sys.stderr)
            rows.append(row)
    return rows


def puzzle(task: str, rows: int, length: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    if task == "parity":
        bits = torch.randint(0, 2, (rows, length), generator=generator)
        return bits, bits.cumsum(1) % 2
    table = _s5()
    moves = torch.randint(0, len(table), (rows, length), generator=generator)
    state, states = torch.zeros(rows, dtype=torch.long), []
    for move in moves.T:
        state = table[state, move]
        states.append(state)
    return moves, torch.stack(states, dim=1)


def _s5() -> torch.Tensor:
    from itertools import permutations

    orders = list(permutations(range(5)))
    number = {order: i for i, order in enumerate(orders)}
    return torch.tensor([[number[tuple(a[i] for i in b)] for b in orders] for a in orders])


# Text, training, scoring


def corpus(files: list[Path]) -> tuple[torch.Tensor, torch.Tensor]:
    """(training bytes, the last twentieth held out)."""
    data = b"\n\n".join(text.encode() for file in files for text in _texts(file))
    whole = torch.frombuffer(bytearray(data), dtype=torch.uint8).long()
    cut = len(whole) * 19 // 20
    return whole[:cut], whole[cut : cut + 64 * 1024]


def _texts(file: Path) -> Iterator[str]:
    with gzip.open(file, "rt", encoding="utf-8") if file.suffix == ".gz" else file.open(encoding="utf-8") as lines:
        if ".jsonl" not in file.name:
            yield lines.read()
            return
        for line in lines:
            row = json.loads(line)
            yield "\n".join(value for value in row.values() if isinstance(value, str))


def batches(data: torch.Tensor, seed: int) -> Iterator[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    while True:
        starts = torch.randint(0, len(data) - LENGTH - 1, (BATCH,), generator=generator)
        yield torch.stack([data[start : start + LENGTH + 1] for start in starts.tolist()])


def fit(model: Any, data: Iterator[torch.Tensor], steps: int, rate: float) -> None:
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    model.train()
    for step in range(steps):
        _set_rate(optimiser, rate, step, steps)
        ids = next(data)
        logits = model(ids[:, :-1]).logits
        loss: Any = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
    model.eval()


def _set_rate(optimiser: torch.optim.Optimizer, peak: float, step: int, steps: int) -> None:
    warm = min(1.0, (step + 1) / max(1, steps // 20))
    for group in optimiser.param_groups:
        group["lr"] = peak * warm * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def bits_per_byte(model: Any, data: torch.Tensor, plan: Plan | None = None) -> float:
    usable = (len(data) - 1) // LENGTH * LENGTH
    ids, targets = data[:usable].view(-1, LENGTH), data[1 : usable + 1].view(-1, LENGTH)
    total = 0.0
    if plan is not None:
        model.model.plan = plan
    with torch.no_grad():
        for start in range(0, len(ids), 64):
            logits = model(ids[start : start + 64]).logits
            wanted = targets[start : start + 64].flatten()
            total += float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), wanted, reduction="sum"))
    if plan is not None:
        model.model.plan = None
    return total / usable / math.log(2)


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)


PARTS: dict[str, Callable[[argparse.Namespace], list[Row]]] = {
    "compare": compare,
    "solver": solver,
    "speed": speed,
    "decode": decode,
    "track": track,
}

if __name__ == "__main__":
    main()
