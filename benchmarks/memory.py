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
RECIPES = {
    "lora, 1,024 tokens at once": (),
    "lora r = 64, 4,096 at once": (
        "train.lora={r: 64, alpha: 128}",
        "train.batch_tokens=4096",
        "train.micro_batch_tokens=4096",
    ),
    "dora, 512 at once": ("train.method=dora", "train.micro_batch_tokens=512"),
    "full, 1,024 at once": ("train.method=full", "train.lora=null"),
    "new llama, 2,048 at once": (
        "train.method=full",
        "train.lora=null",
        "train.micro_batch_tokens=2048",
        f"model={_NEW % 'llama'}",
    ),
    "new newllm, 1,024 at once": ("train.method=full", "train.lora=null", f"model={_NEW % 'newllm'}", "ship.gguf=[]"),
}


def main() -> None:
    parser = arguments(__doc__ or "", limit=32)
    parser.add_argument("--recipe", action="append", choices=list(RECIPES), help="may be repeated; default: all")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lay_out(options, folder)
        for recipe in options.recipe or RECIPES:
            rows.append({"recipe": recipe, **look(folder, RECIPES[recipe])})
            print(rows[-1], file=sys.stderr, flush=True)
    ratios = {row["recipe"]: round(row["estimated_mb"] / row["measured_mb"], 3) for row in rows}
    if options.json:
        print(json.dumps({"machine": machine(), "limit": options.limit, "rows": rows, "ratios": ratios}))
        return
    print(f"{'':28} estimated  measured  ratio")
    for row in rows:
        print(f"{row['recipe']:28} {row['estimated_mb']:9} {row['measured_mb']:9} {ratios[row['recipe']]:6}")


def look(folder: Path, changes: tuple[str, ...]) -> dict[str, Any]:
    from kitae.paths import cache_dir

    env = {"KITAE_HOME": str(folder / "home"), "KITAE_CACHE": str(cache_dir())}
    sets = [part for change in changes for part in ("--set", change)]
    kitae = [str(Path(sys.executable).parent / "kitae")]
    recipe = str(folder / "recipe.yaml")
    checked = run([*kitae, "recipe", "check", recipe, "--json", *sets], env)
    trained = run([*kitae, "train", recipe, "--json", *sets], env)
    return {"estimated_mb": json.loads(checked["said"])["memory_mb"], "measured_mb": trained["peak_mb"]}


if __name__ == "__main__":
    main()
