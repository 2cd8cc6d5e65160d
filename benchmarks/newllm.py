"""New-LLM beside other architectures, on the bytes of a text: python benchmarks/newllm.py PART --text FILE … [--json]

    solver    passes until contexts are found, and how far few passes are from a walk through time, on a trained model
    settling  what it costs that passes settle: its weight in the loss, against bits per byte, gap and passes
    speed     training bytes a second: passes against a walk, and against a Llama-style transformer
    decode    a million tokens: seconds and memory per hundred thousand
    track     parity and S5: learnt on up to 32 tokens, asked on 256

FILE: .txt, or .jsonl(.gz) whose texts are taken. Everything is trained here, in fp32; `--steps` and `--width` set
the size. Which architecture learns more is compared with recipes: examples/newllm/README.md.
"""

from __future__ import annotations

import argparse
import contextlib
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
from kitae.models.newllm.solve import SolverPlan

BATCH, LENGTH = 32, 128
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--text", type=Path, nargs="+", default=[])
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--steps", type=int, default=160)
    parser.add_argument("--rate", type=float, default=1e-2)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not options.text and options.part != "track":
        parser.error("--text: which text to learn from")
    rows = PARTS[options.part](options)
    if options.json:
        machine = {"platform": platform.platform(), "cores": os.cpu_count(), "python": platform.python_version()}
        print(json.dumps({"machine": machine, "rows": rows, "ratios": dict(_ratios(rows))}))
        return
    columns = list(dict.fromkeys(key for row in rows for key in row))
    print("  ".join(f"{column:>16}" for column in columns))
    for row in rows:
        print("  ".join(f"{_shown(row.get(column)):>16}" for column in columns))


def _ratios(rows: list[Row]) -> Iterator[tuple[str, float]]:
    for row in rows:
        for column, value in row.items():
            if column.startswith(("gated/", "matrix/")) and not column.endswith("/s"):
                yield f"{row['rows']} x {row['length']}: {column}", value


def newllm(width: int, **settings: Any) -> NewLLMForCausalLM:
    return NewLLMForCausalLM(NewLLMConfig(**{"vocab_size": 256, "hidden_size": width} | settings))


def llama(width: int, layers: int, positions: int = 1 << 14) -> LlamaForCausalLM:
    shape = {"num_hidden_layers": layers, "num_attention_heads": 4, "intermediate_size": -(-width * 8 // 3 // 32) * 32}
    return LlamaForCausalLM(
        LlamaConfig(vocab_size=256, hidden_size=width, max_position_embeddings=positions, tie_word_embeddings=True, **shape)
    )


# Parts


def solver(options: argparse.Namespace) -> list[Row]:
    train, held_out = corpus(options.text)
    rows = []
    for cell in ("gated", "matrix", "residual"):
        torch.manual_seed(0)
        model = newllm(options.width, cell=cell)
        fit(model, batches(train, 0), options.steps, options.rate)
        for length in (128, 1024, 8192):
            ids = held_out[:length][None] if length > 1024 else held_out[: 8 * length].view(8, length)
            rows.append({"cell": cell, "length": length, **_passes(model, ids)})
            print(rows[-1], flush=True, file=sys.stderr)
        walked = bits_per_byte(model, held_out, SolverPlan("sequential"))
        for number in (1, 2, 3, 4):
            few = bits_per_byte(model, held_out, SolverPlan("gate-scan", number))
            rows.append({"cell": cell, "passes": number, "bits/byte": few, "walked": walked, "gap": few - walked})
            print(rows[-1], flush=True, file=sys.stderr)
    return rows


def settling(options: argparse.Namespace) -> list[Row]:
    train, held_out = corpus(options.text)
    rows = []
    for weight in (0.0, 0.1, 1.0, 2.0, 3.0, 10.0):
        torch.manual_seed(0)
        model = newllm(options.width, settling=weight)
        fit(model, batches(train, 0), options.steps, options.rate)
        walked = bits_per_byte(model, held_out, SolverPlan("sequential"))
        few = bits_per_byte(model, held_out, SolverPlan("gate-scan", 3))
        row = {"settling": weight, "walked": walked, "gap": few - walked, **_passes(model, held_out[:8192].view(8, 1024))}
        print(row, flush=True, file=sys.stderr)
        rows.append(row)
    return rows


def _passes(model: NewLLMForCausalLM, ids: torch.Tensor) -> Row:
    """Passes until 99.9 % of all tokens are as near to the walked contexts."""
    with torch.no_grad():
        with model.model.solving(SolverPlan("sequential")) as solutions:
            model(ids)
            walked = [solution.contexts for solution in solutions]
        found: Row = {}
        for limit in (1e-2, 1e-4):
            for number in range(1, 65):
                with model.model.solving(SolverPlan("gate-scan", number)) as solutions:
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
    for batch, length in ((16, 512), (4, 2048), (1, 2048), (1, 8192)):
        ids = train[: batch * length].view(batch, length)
        contestants: dict[str, tuple[Any, SolverPlan | None]] = {
            "gated": (newllm(options.width), SolverPlan("gate-scan", 3)),
            "matrix": (newllm(options.width, cell="matrix"), SolverPlan("gate-scan", 3)),
            "walk": (newllm(options.width), SolverPlan("sequential")),
            "matrix walk": (newllm(options.width, cell="matrix"), SolverPlan("sequential")),
            "llama": (llama(options.width * 3 // 4, 2), None),  # which is about as many parameters
        }
        if length > 2048:
            contestants = {name: one for name, one in contestants.items() if "walk" not in name}
        times: dict[str, list[float]] = {name: [] for name in contestants}
        for turn in range(4):
            for name, (model, plan) in contestants.items():
                with model.model.solving(plan) if plan else contextlib.nullcontext():
                    seconds = _step_seconds(model, ids)
                if turn:  # the first is to warm up
                    times[name].append(seconds)
        rates = {name: ids.numel() / statistics.median(found) for name, found in times.items()}
        row: Row = {"rows": batch, "length": length, **{f"{name}/s": rate for name, rate in rates.items()}}
        for cell, walk in (("gated", "walk"), ("matrix", "matrix walk")):
            row[f"{cell}/llama"] = rates[cell] / rates["llama"]
            if walk in rates:
                row[f"{cell}/walk"] = rates[cell] / rates[walk]
        print(row, flush=True, file=sys.stderr)
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
    fit(model, batches(train, 0), options.steps, options.rate)
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
            "newllm matrix": lambda: newllm(options.width, blocks=[2, 2], cell="matrix"),
            "newllm gated, 1 pass": lambda: newllm(options.width, blocks=[2, 2], passes=1),
            "newllm seed": lambda: newllm(options.width, blocks=[2, 2], cell="seed-residual", solver="sequential"),
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
                loss: Any = _loss(model, ids, states)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimiser.step()
                optimiser.zero_grad()
            row: Row = {"task": task, "model": name}
            model.eval()
            if getattr(model.config, "passes", None) == 1:
                model.model.plan = SolverPlan(passes=1)  # asked as it was trained
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
    """(training bytes, the last twentieth of each file held out)."""
    parts = []
    for file in files:
        data = b"\n\n".join(text.encode() for text in _texts(file))
        whole = torch.frombuffer(bytearray(data), dtype=torch.uint8).long()
        cut = len(whole) * 19 // 20
        parts.append((whole[:cut], whole[cut:]))
    return torch.cat([train for train, _ in parts]), torch.cat([held_out[: 32 * 1024] for _, held_out in parts])


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
        loss: Any = _loss(model, ids[:, :-1], ids[:, 1:])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
    model.eval()


def _loss(model: Any, ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    found = model(ids)
    loss: torch.Tensor = torch.nn.functional.cross_entropy(found.logits.flatten(0, 1), targets.flatten())
    added = getattr(found, "added_loss", None)  # that passes settle is part of what a New-LLM learns
    return loss if added is None else loss + added.mean()


def _set_rate(optimiser: torch.optim.Optimizer, peak: float, step: int, steps: int) -> None:
    warm = min(1.0, (step + 1) / max(1, steps // 20))
    for group in optimiser.param_groups:
        group["lr"] = peak * warm * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def bits_per_byte(model: Any, data: torch.Tensor, plan: SolverPlan | None = None) -> float:
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
    "solver": solver,
    "settling": settling,
    "speed": speed,
    "decode": decode,
    "track": track,
}

if __name__ == "__main__":
    main()
