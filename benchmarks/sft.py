"""Kitae and TRL's SFTTrainer train the same LoRA on the same rows: python benchmarks/sft.py --rows FILE [--limit N] [--json]

Each setting trains in a process of its own, all of them in turns, `--rounds` times. Tokens are those of the rows, without
padding; the clock runs during steps only; memory is the most that the process ever held. Both take as many steps, of eight rows
on average, and what they learned is scored on the same held-out rows by the same few lines. FILE holds `messages`, or Dolly's
fields.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

ROWS_A_STEP = 8
HELD_OUT = 32
LORA = {"r": 16, "alpha": 32}
RATE = 2e-4


def _trl(rows: int = ROWS_A_STEP, **more: object) -> dict[str, Any]:
    return {"per_device_train_batch_size": rows, "gradient_accumulation_steps": ROWS_A_STEP // rows, **more}


_GROUPED: dict[str, Any] = {"gradient_checkpointing": False, "train_sampling_strategy": "group_by_length"}
_BF16: dict[str, Any] = {"model_init_kwargs": {"dtype": "bfloat16"}}
_FP32: dict[str, Any] = {"bf16": False}  # which TRL has to be told, also where a processor can't multiply bf16
OURS = "kitae"
SETTINGS: dict[str, dict[str, Any]] = {
    OURS: {},
    "trl, its defaults": _trl(),
    "trl, no checkpointing": _trl(gradient_checkpointing=False),
    **{f"trl, grouped, {n} at once": _trl(n, **_GROUPED) for n in (8, 4, 2, 1)},
    **{f"trl, grouped, {n} at once, bf16 weights": _trl(n, **_GROUPED, **_BF16) for n in (4, 2, 1)},
    "trl, checkpointing, 1 at once, bf16 weights": _trl(1, **_BF16),
    **{f"trl, grouped, {n} at once, fp32": _trl(n, **_GROUPED, **_FP32) for n in (4, 2, 1)},
    "trl, checkpointing, 1 at once, fp32": _trl(1, **_FP32),
}
DEFAULTS = ("trl, its defaults", "trl, no checkpointing")


def main() -> None:
    parser = arguments(__doc__ or "", limit=96)
    parser.add_argument("--setting", action="append", choices=list(SETTINGS), help="may be repeated; default: all")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for Kitae's recipe")
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer is not None:
        print(json.dumps(train_with_trl(Path(options.peer))))
        return
    chosen = options.setting or list(SETTINGS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base, tokens = lay_out(options, folder)
        found: dict[str, list[dict[str, Any]]] = {setting: [] for setting in chosen}
        for turn in range(options.rounds):
            for setting in chosen if turn % 2 == 0 else reversed(chosen):
                found[setting].append(trial(setting, folder, base, tokens, options.set))
                print(f"{setting}: {found[setting][-1]}", file=sys.stderr, flush=True)
    rows = [summary(setting, trials) for setting, trials in found.items()]
    report = {"machine": machine(), "limit": options.limit, "tokens": tokens, "rows": rows, "ratios": ratios(rows)}
    if options.json:
        print(json.dumps(report))
        return
    print(f"{'':54} {'tokens/s':>16} {'peak MB':>8} {'first':>7} {'last':>7} {'held out':>8}")
    for row in rows:
        speed = f"{row['tokens_per_second']:.0f} ({row['slowest']:.0f}–{row['fastest']:.0f})"
        print(f"{row['setting']:54} {speed:>16} {row['peak_mb']:>8} {row['first']:>7} {row['last']:>7} {row['held_out']:>8}")
    print(json.dumps(report["ratios"]))


def arguments(description: str, limit: int) -> argparse.ArgumentParser:
    """What every benchmark of training asks for."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=limit, help="how many rows are trained on")
    parser.add_argument("--characters", type=int, nargs=2, default=(0, 2000), metavar=("FROM", "TO"), help="of the rows taken")
    parser.add_argument("--json", action="store_true")
    return parser


def machine() -> dict[str, Any]:
    return {"platform": platform.platform(), "cores": os.cpu_count(), "python": platform.python_version()}


def lay_out(options: argparse.Namespace, folder: Path) -> tuple[Path, int]:
    """Writes the rows and Kitae's recipe; gives the model's folder and the tokens that an epoch has."""
    from kitae.chat import Conversation
    from kitae.models import locate, open_codec
    from kitae.train import BatchPlan

    base = locate("smollm2-135m-instruct")
    codec = open_codec(base, None)
    least, most = options.characters
    rows = [row for row in read(options.rows) if least <= sum(len(m["content"]) for m in row) <= most]
    random.Random(0).shuffle(rows)
    if len(rows) < options.limit + HELD_OUT:
        sys.exit(f"{options.rows}: {len(rows)} rows of {least} to {most} characters; {options.limit + HELD_OUT} are needed")
    train, held_out = rows[: options.limit], rows[options.limit :][:HELD_OUT]
    for file, part in (("train.jsonl", train), ("held_out.jsonl", held_out)):
        (folder / file).write_text("".join(json.dumps({"messages": row}) + "\n" for row in part))

    def length(row: list[dict[str, str]]) -> int:
        return sum(len(piece.ids) for piece in codec.encode(Conversation.of(row)))

    lengths = [length(row) for row in train]
    longest = max(*lengths, *(length(row) for row in held_out))
    steps = -(-options.limit // ROWS_A_STEP)
    budget = next(b for b in range(sum(lengths) // steps, 10**9, 8) if len(BatchPlan(lengths, b, 1, 0)) <= steps)
    recipe = {
        "name": "sft",
        "model": {"max_length": longest},
        "data": {"train": [{"path": "train.jsonl"}], "validation": [{"path": "held_out.jsonl"}]},
        "train": {
            "lora": LORA,
            "epochs": 1,
            "learning_rate": RATE,
            "schedule": "linear",
            "warmup": 0.0,
            "batch_tokens": budget,
            "evaluations": 1,
            "early_stopping": None,
        },
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return base, sum(lengths)


def read(file: Path) -> list[list[dict[str, str]]]:
    with gzip.open(file, "rt", encoding="utf-8") if file.suffix == ".gz" else file.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [row["messages"] if "messages" in row else asked_and_answered(row) for row in rows]


def asked_and_answered(row: dict[str, str]) -> list[dict[str, str]]:
    question = "\n\n".join(part.strip() for part in (row["instruction"], row.get("input", "")) if part.strip())
    return [{"role": "user", "content": question}, {"role": "assistant", "content": row["output"].strip()}]


def trial(setting: str, folder: Path, base: Path, tokens: int, changes: list[str]) -> dict[str, Any]:
    if setting == OURS:
        found = train_with_kitae(folder, changes)
    else:
        (folder / "peer.json").write_text(json.dumps({"arguments": SETTINGS[setting], "base": str(base)}))
        found = json.loads(run(peer_command(folder))["said"].splitlines()[-1])
    given = len((folder / "train.jsonl").read_text().splitlines())
    if (found["rows"], found.get("tokens", tokens)) != (given, tokens):
        sys.exit(f"{setting} trained on {found['rows']} of {given} rows, {found.get('tokens', tokens)} of {tokens} tokens")
    losses = found["losses"]
    third = max(1, len(losses) // 3)
    return {
        "tokens_per_second": round(tokens / found["seconds"], 1),
        "peak_mb": found["peak_mb"],
        "steps": len(losses),
        "first": round(statistics.mean(losses[:third]), 3),
        "last": round(statistics.mean(losses[-third:]), 3),
        "held_out": round(held_out_loss(base, Path(found["adapter"]), folder / "held_out.jsonl"), 4),
    }


def peer_command(folder: Path) -> list[str]:
    """Trains as `peer.json` says, on the rows beside it."""
    return [sys.executable, __file__, "--rows", str(folder), "--peer", str(folder / "peer.json")]


def train_with_kitae(folder: Path, changes: list[str]) -> dict[str, Any]:
    """The command that anyone would type; its run's events tell the rest."""
    from kitae.core.paths import cache_dir

    sets = [part for change in changes for part in ("--set", change)]
    program = str(Path(sys.executable).parent / "kitae")
    env = {"KITAE_HOME": str(folder / "home"), "KITAE_CACHE": str(cache_dir())}
    done = run([program, "train", str(folder / "recipe.yaml"), "--json", *sets], env)
    path = Path(json.loads(done["said"])["path"])
    events = [json.loads(line) for line in (path / "events.jsonl").read_text().splitlines()]
    steps = [event for event in events if event["event"] == "step"]
    return {
        "seconds": sum(step["step_seconds"] for step in steps),
        "rows": json.loads((path / "manifest.json").read_text())["rows"]["train"],
        "peak_mb": done["peak_mb"],
        "gpu_mb": max(step.get("gpu_mb", 0) for step in steps),
        "losses": [step["loss"] for step in steps],
        "adapter": str(path / "adapter"),
    }


def run(command: list[str], env: dict[str, str] | None = None, codes: tuple[int, ...] = (0,)) -> dict[str, Any]:
    """A process and all that it started: what it printed, and the most that any one of them held. `codes`: how it may end."""
    program = (
        "import json, resource, subprocess, sys\n"
        "done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, text=True)\n"
        "peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024\n"
        "print(json.dumps({'said': done.stdout, 'peak_mb': peak, 'code': done.returncode}))"
    )
    whole = [sys.executable, "-c", program, *command]
    done = subprocess.run(whole, env={**os.environ, **(env or {})}, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    if found["code"] not in codes:
        sys.exit(f"{' '.join(command)}: exit code {found['code']}\n{found['said']}")
    return found


def train_with_trl(settings: Path) -> dict[str, Any]:
    import torch
    from datasets import load_dataset
    from peft import LoraConfig
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    class Stopwatch(TrainerCallback):  # type: ignore[misc]
        seconds = 0.0

        def on_step_begin(self, *_: object, **__: object) -> None:
            self.began = time.perf_counter()

        def on_step_end(self, *_: object, **__: object) -> None:
            self.seconds += time.perf_counter() - self.began

    wanted = json.loads(settings.read_text())
    folder = settings.parent
    rows = load_dataset("json", data_files=str(folder / "train.jsonl"), split="train", cache_dir=str(folder / "datasets"))
    rows = rows.map(lambda row: {"prompt": row["messages"][:-1], "completion": row["messages"][-1:]}, remove_columns="messages")
    watch = Stopwatch()
    trainer = SFTTrainer(
        wanted["base"],
        args=SFTConfig(
            output_dir=str(folder / "trl"),
            learning_rate=RATE,
            num_train_epochs=1,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            seed=0,
            use_cpu=not torch.cuda.is_available(),
            **{"max_length": None, **wanted["arguments"]},
        ),
        train_dataset=rows,
        peft_config=LoraConfig(r=LORA["r"], lora_alpha=LORA["alpha"], target_modules="all-linear", task_type="CAUSAL_LM"),
        callbacks=[watch],
    )
    trainer.train()
    adapter = folder / "trl-adapter"
    trainer.save_model(str(adapter))
    return {
        "seconds": watch.seconds,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "gpu_mb": torch.cuda.max_memory_reserved() // 2**20 if torch.cuda.is_available() else 0,
        "rows": len(trainer.train_dataset),
        "tokens": sum(len(ids) for ids in trainer.train_dataset["input_ids"]),
        "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
        "adapter": str(adapter),
    }


def held_out_loss(base: Path, adapter: Path, rows: Path) -> float:
    """Of the answers, in nats a token, the plain way: one row at a time, fp32, nothing of either trainer."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapter).eval()
    total, count = 0.0, 0
    for line in rows.read_text().splitlines():
        messages = json.loads(line)["messages"]
        question = tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True, return_dict=False)
        whole = torch.tensor([tokenizer.apply_chat_template(messages, return_dict=False)])
        with torch.no_grad():
            logits = model(whole).logits[0, len(question) - 1 : -1]
        targets = whole[0, len(question) :]
        total += float(torch.nn.functional.cross_entropy(logits, targets, reduction="sum"))
        count += len(targets)
    return total / count


def summary(setting: str, trials: list[dict[str, Any]]) -> dict[str, Any]:
    speeds = [trial["tokens_per_second"] for trial in trials]
    found = {name: statistics.median(trial[name] for trial in trials) for name in trials[0]}
    return {"setting": setting, **found, "slowest": min(speeds), "fastest": max(speeds)}


def ratios(rows: list[dict[str, Any]]) -> dict[str, float]:
    ours = next((row for row in rows if row["setting"] == OURS), None)
    peers = [row for row in rows if row["setting"] != OURS]
    if ours is None or not peers:
        return {}
    speed, memory = "tokens_per_second", "peak_mb"
    found = {
        "tokens_per_second": ours[speed] / max(peer[speed] for peer in peers),
        "peak_memory": ours[memory] / min(peer[memory] for peer in peers),
    }
    defaults = [peer[speed] for peer in peers if peer["setting"] in DEFAULTS]
    if defaults:
        found["tokens_per_second_over_defaults"] = ours[speed] / max(defaults)
    return {name: round(value, 3) for name, value in found.items()}


if __name__ == "__main__":
    main()
