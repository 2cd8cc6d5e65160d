"""What each part of Kitae's training on a CPU gives: python benchmarks/sft_parts.py --rows FILE [--limit N] [--json]

The same LoRA on the same rows, optimiser steps and seed; each line has one part more than the line before it. Each trains in a
process of its own, all of them in turns, `--rounds` times. Tokens are those of the rows, without padding; the first step is not
counted; memory is the most that the process ever held.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sft import LORA, RATE, arguments, lay_out, machine

PARTS = (
    "PEFT under autocast, logits of every token, 2,048 padded tokens at once",
    "no casts around adapters",
    "logits of labels only, made and scored in blocks",
    "adapters, gated layers and norms that keep less",
    "rows in a strip, attention in blocks",
    "1,024 tokens at once",
)


def main() -> None:
    parser = arguments(__doc__ or "", limit=96)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--part", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part is not None:
        print(json.dumps(train(options.rows, options.part)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lay_out(options, folder)
        found: list[list[dict[str, Any]]] = [[] for _ in PARTS]
        for turn in range(options.rounds):
            numbers = range(len(PARTS))
            for number in numbers if turn % 2 == 0 else reversed(numbers):
                command = [sys.executable, __file__, "--rows", str(folder), "--part", str(number)]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                found[number].append(json.loads(done.stdout.splitlines()[-1]))
                print(f"{PARTS[number]}: {found[number][-1]}", file=sys.stderr, flush=True)
    rows = [
        {"part": part, **{name: statistics.median(trial[name] for trial in trials) for name in trials[0]}}
        for part, trials in zip(PARTS, found, strict=True)
    ]
    speeds = [row["tokens_per_second"] for row in rows]
    ratios = {row["part"]: round(now / before, 3) for row, before, now in zip(rows[1:], speeds, speeds[1:], strict=False)}
    if options.json:
        print(json.dumps({"machine": machine(), "limit": options.limit, "rows": rows, "ratios": ratios}))
        return
    print(f"{'':72} tokens/s  peak MB  last loss")
    for row in rows:
        print(f"{row['part']:72} {row['tokens_per_second']:8.0f} {row['peak_mb']:8} {row['last']:10.4f}")


def train(folder: Path, parts: int) -> dict[str, Any]:
    import torch
    from peft import LoraConfig, get_peft_model

    from kitae.core.libraries import quiet_libraries
    from kitae.models import add_lora, locate, open_codec, open_model
    from kitae.recipe import load_recipe
    from kitae.train import BatchPlan, collate
    from kitae.train.attention import allow_strips
    from kitae.train.batches import MicroBatch
    from kitae.train.lean import make_lean
    from kitae.train.loss import LabelledLoss, trial_batch
    from kitae.workflows.rows import gather_rows

    quiet_libraries()
    recipe = load_recipe(folder / "recipe.yaml")
    base = locate(recipe.model.source)
    codec = open_codec(base, None)
    rows = [piece for row in gather_rows(recipe).train for piece in codec.encode(row)]
    torch.manual_seed(0)
    model = open_model(base, torch.bfloat16)
    if parts >= 4:
        allow_strips(model)
    if parts >= 1:
        model = add_lora(model, LORA["r"], LORA["alpha"], False, 0.0, "all-linear")
    else:
        wanted = LoraConfig(r=LORA["r"], lora_alpha=LORA["alpha"], target_modules="all-linear", task_type="CAUSAL_LM")
        model = get_peft_model(model, wanted)
    if parts >= 3:
        make_lean(model)
    model.train()

    def of_every_token(batch: MicroBatch) -> torch.Tensor:
        logits = model(input_ids=batch.input_ids, use_cache=False).logits[:, :-1]
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), batch.labels[:, 1:].flatten(), reduction="sum")

    loss: Callable[[MicroBatch], torch.Tensor] = of_every_token
    padded = True
    if parts >= 2:
        loss = labelled = LabelledLoss(model)
        if parts >= 4:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                labelled.try_strip(trial_batch(rows))
        padded = labelled.padded
    make = collate(1024 if parts >= 5 else 2048, padded)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=RATE, weight_decay=0.0)
    tokens, seconds, losses = 0, 0.0, []
    for number, indices in enumerate(BatchPlan([len(row.ids) for row in rows], recipe.train.batch_tokens, 1, 0)):
        step = make([rows[i] for i in indices])
        labels = sum(batch.labelled for batch in step.micro)
        began = time.perf_counter()
        total = 0.0
        for batch in step.micro:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                part = loss(batch).sum() / labels
            part.backward()  # type: ignore[no-untyped-call]
            total += float(part.detach())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(total)
        if number:
            tokens, seconds = tokens + step.tokens, seconds + time.perf_counter() - began
    return {
        "tokens_per_second": round(tokens / seconds, 1),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "last": round(statistics.mean(losses[-3:]), 4),
    }


if __name__ == "__main__":
    main()
