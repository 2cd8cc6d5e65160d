"""What `kitae recipe check` says that a recipe will need, beside the most that training it held: python benchmarks/memory.py
--rows FILE [--limit N] [--json]

FILE holds `messages`, or Dolly's fields. Each recipe trains the starter model, or a new one, in a process of its own.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from sft import arguments, lay_out, machine, run

_NEW = "{source: new, max_length: 512, new: {arch: %s, tokenizer: smollm2-135m-instruct, hidden_size: 512}}"
FULL_STEPS = "train.batch_tokens=4096"  # so that micro-batches are as large as they may be
SHARED = "full, 1,024 at once, weights shared by two"  # processes: what one of them holds
RECIPES = {
    "lora, 2,048 tokens at once": (),
    "lora, 512 at once, fp32": ("train.precision=fp32", "train.micro_batch_tokens=512"),
    "lora r = 64, 4,096 at once": ("train.lora={r: 64, alpha: 128}", "train.micro_batch_tokens=4096"),
    "dora, 512 at once": ("train.method=dora", "train.micro_batch_tokens=512"),
    "full, 1,024 at once": ("train.method=full", "train.lora=null"),
    "new llama, 2,048 at once": (
        "train.method=full",
        "train.lora=null",
        "train.micro_batch_tokens=2048",
        f"model={_NEW % 'llama'}",
    ),
    "new newllm, 1,024 at once": ("train.method=full", "train.lora=null", f"model={_NEW % 'newllm'}", "ship.gguf=[]"),
    "qlora, 1,024 at once": ("train.method=qlora",),
    "soft-prompt, 1,024 at once": ("train.method=soft-prompt", "train.lora=null", "ship.gguf=[]"),
    "dpo, 2,048 at once": (
        "train.method=dpo",
        "data.train=[{path: train-pairs.jsonl}]",
        "data.validation=[{path: held_out-pairs.jsonl}]",
    ),
    "distill, 2,048 at once": ("train.method=distill", "train.distill={teacher: smollm2-135m-instruct}"),
    SHARED: ("train.method=full", "train.lora=null", "train.shard=true"),
}


def main() -> None:
    parser = arguments(__doc__ or "", limit=32)
    parser.add_argument("--recipe", action="append", choices=list(RECIPES), help="may be repeated; default: all")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lay_out(options, folder)
        for part in ("train", "held_out"):
            write_pairs(folder / f"{part}.jsonl", folder / f"{part}-pairs.jsonl")
        for recipe in options.recipe or RECIPES:
            rows.append({"recipe": recipe, **look(folder, RECIPES[recipe], 2 if recipe == SHARED else 1)})
            print(rows[-1], file=sys.stderr, flush=True)
    ratios = {row["recipe"]: round(row["estimated_mb"] / row["measured_mb"], 3) for row in rows}
    if options.json:
        print(json.dumps({"machine": machine(), "limit": options.limit, "rows": rows, "ratios": ratios}))
        return
    print(f"{'':42} estimated  measured  ratio")
    for row in rows:
        print(f"{row['recipe']:42} {row['estimated_mb']:9} {row['measured_mb']:9} {ratios[row['recipe']]:6}")


def write_pairs(rows: Path, pairs: Path) -> None:
    """The worse answer is that of the row before."""
    every = [json.loads(line)["messages"] for line in rows.read_text().splitlines()]
    found = [
        {"prompt": row[:-1], "chosen": row[-1:], "rejected": other[-1:]}
        for row, other in zip(every, [every[-1], *every[:-1]], strict=True)
    ]
    pairs.write_text("".join(json.dumps(pair) + "\n" for pair in found))


def look(folder: Path, changes: tuple[str, ...], processes: int) -> dict[str, Any]:
    from kitae.core.errors import EXIT_REFUSED
    from kitae.core.paths import cache_dir

    env = {"KITAE_HOME": str(folder / "home"), "KITAE_CACHE": str(cache_dir())}
    sets = [part for change in (FULL_STEPS, *changes) for part in ("--set", change)]
    kitae = [str(Path(sys.executable).parent / "kitae")]
    recipe = str(folder / "recipe.yaml")
    checked = run([*kitae, "recipe", "check", recipe, "--json", *sets], {**env, "WORLD_SIZE": str(processes)})
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    launched = [*torchrun, "-m", "kitae.cli.main"] if processes > 1 else kitae
    trained = run([*launched, "train", recipe, "--json", *sets], env, codes=(0, EXIT_REFUSED))  # so few steps teach little
    return {"estimated_mb": json.loads(checked["said"])["memory_mb"], "measured_mb": trained["peak_mb"]}


if __name__ == "__main__":
    main()
