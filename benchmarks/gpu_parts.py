"""What benchmarks/gpu.py measures: each part yields its measurements as they come."""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from sft import LORA, RATE, peer_command, run, train_with_kitae

Row = dict[str, Any]
STARTER = "smollm2-135m-instruct"
SHAPE = {
    "vocab_size": 151_936,
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 4096,
}
TINY_SHAPE = SHAPE | {
    "vocab_size": 49_280,  # more than the tokenizer has, as in the large one
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
}
RECIPE = {
    "name": "gpu",
    "evaluate": {"prompts": 8, "rows": 8, "max_new_tokens": 24},
    # Random weights can't be good at anything; what is asked here is how long it takes to find out.
    "verify": {"stop_rate": 0.0, "loop_rate": 1.0, "stop_probability": 1e-9, "equivalent_kld": 0.01, "quant_kld": 10.0},
}


@dataclass(frozen=True)
class Place:
    folder: Path
    tiny: bool
    until: float  # on the monotonic clock

    @property
    def model(self) -> Path:
        return self.folder / "model"

    @property
    def left(self) -> float:
        return self.until - time.monotonic()


def found(module: str) -> bool:
    return find_spec(module) is not None


def model(place: Place) -> Iterator[Row]:
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from kitae.models import locate_tokenizer, open_tokenizer

    began = time.monotonic()
    tokenizer = open_tokenizer(locate_tokenizer(STARTER))
    named = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    config = Qwen3Config(**(TINY_SHAPE if place.tiny else SHAPE), **named, tie_word_embeddings=True)
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        made = Qwen3ForCausalLM(config).to(torch.bfloat16)
    made.save_pretrained(place.model)
    tokenizer.save_pretrained(place.model)
    lay_out(place)
    parameters = sum(weight.numel() for weight in made.parameters())
    yield {"parameters": parameters, "seconds": round(time.monotonic() - began, 1)}


def lay_out(place: Place) -> None:
    """Rows of many lengths: each has several messages of the bundled task, and the answers to them all."""
    from kitae.data.appointments import rows

    count, most = (12, 3) if place.tiny else (1_200, 24)
    for file, split, number in (("train", "train", count), ("validation", "validation", 16), ("test", "test", 16)):
        rng = random.Random(number)
        sizes = [rng.randint(1, most) for _ in range(number)]
        single = iter(rows(split, sum(sizes), 0))
        with (place.folder / f"{file}.jsonl").open("w") as out:
            for size in sizes:
                asked: list[list[Row]] = [next(single)["messages"] for _ in range(size)]  # type: ignore[misc]
                joined = [{"role": role, "content": said(asked, role)} for role in ("system", "user", "assistant")]
                out.write(json.dumps({"messages": joined}) + "\n")


def said(asked: list[list[Row]], role: str) -> str:
    lines = [message["content"] for messages in asked for message in messages if message["role"] == role]
    return lines[0] if role == "system" else "\n".join(lines)


def write_recipe(place: Place, source: str, **more: Any) -> None:
    data = {part: [{"path": f"{part}.jsonl", "licence": "CC0-1.0"}] for part in ("train", "validation", "test")}
    train = {"lora": LORA, "epochs": 1, "learning_rate": RATE, "batch_tokens": step(place), "evaluations": 1}
    base = {"source": source, "max_length": 4096}
    (place.folder / "recipe.yaml").write_text(yaml.safe_dump({"model": base, "data": data, "train": train, **RECIPE, **more}))


def step(place: Place) -> int:
    return 512 if place.tiny else 16_384


def trl_settings(place: Place) -> dict[str, Row]:
    attention = "flash_attention_2" if found("flash_attn") else "sdpa"
    fast: Row = {
        "bf16": not place.tiny,
        "gradient_checkpointing": False,
        "use_liger_kernel": found("liger_kernel") and not place.tiny,
        "model_init_kwargs": {"dtype": "float32" if place.tiny else "bfloat16", "attn_implementation": attention},
    }
    pieces = 2 if place.tiny else 4  # of a step, each longer than any row
    several = {n: {"per_device_train_batch_size": n, "gradient_accumulation_steps": pieces // n} for n in (pieces, 1)}
    packed = {
        f"packed, {n} at once": more | {"packing": True, "max_length": step(place) // pieces} for n, more in several.items()
    }
    grouped = {"per_device_train_batch_size": 8 if place.tiny else 24, "train_sampling_strategy": "group_by_length"}
    return {name: fast | more for name, more in (packed | {"grouped": grouped}).items()}


def training(place: Place) -> Iterator[Row]:
    tokens = tokens_of(place)
    write_recipe(place, str(place.model))

    def kitae(at_once: str) -> Row:
        return train_with_kitae(place.folder, [f"train.micro_batch_tokens={at_once}"])

    def trl(arguments: Row) -> Row:
        (place.folder / "peer.json").write_text(json.dumps({"arguments": arguments, "base": str(place.model)}))
        row: Row = json.loads(run(peer_command(place.folder))["said"].splitlines()[-1])
        return row

    ours = {f"{n} tokens at once": ("kitae", partial(kitae, n)) for n in ("auto", str(step(place)))}
    theirs = {name: ("trl", partial(trl, wanted)) for name, wanted in trl_settings(place).items()}
    for setting, (who, train) in (ours | theirs).items():
        row = {"who": who, "setting": setting}
        if place.left < 20:
            yield row | {"skipped": "no time left"}
            continue
        try:
            yield row | trained(train(), tokens)
        except SystemExit as error:
            yield row | {"failed": str(error)[-300:]}


def trained(row: Row, tokens: int) -> Row:
    """Tokens are those of rows, without padding."""
    losses, learned = row["losses"], row.get("tokens", tokens)
    return {
        "tokens_per_second": round(learned / row["seconds"], 1),
        **{name: row[name] for name in ("gpu_mb", "peak_mb")},
        "tokens": learned,
        "steps": len(losses),
        "losses": [round(losses[0], 3), round(losses[-1], 3)],
    }


def tokens_of(place: Place) -> int:
    from kitae.chat import Conversation
    from kitae.models import open_codec

    codec = open_codec(place.model, None)
    lines = (place.folder / "train.jsonl").read_text().splitlines()
    talks = [Conversation.of(json.loads(line)["messages"]) for line in lines]
    return sum(len(piece.ids) for talk in talks for piece in codec.encode(talk))


def proof(place: Place) -> Iterator[Row]:
    from kitae.models import locate

    quant = "Q8_0" if place.tiny else "Q4_K_M"
    source = str(place.model) if place.tiny else STARTER
    write_recipe(place, source, ship={"gguf": ["F16", quant]})
    kitae, home = [sys.executable, "-m", "kitae.cli.main"], {"KITAE_HOME": str(place.folder / "home"), "KITAE_CACHE": cache()}
    began = time.monotonic()
    locate(source)
    yield {"stage": "import the base", "seconds": round(time.monotonic() - began, 1)}
    trained = None
    for stage in ("train", "merge", "F16", quant, "verify and package"):
        began = time.monotonic()
        arguments = {
            "train": ["train", str(place.folder / "recipe.yaml")],
            "merge": ["merge", str(trained)],
            "verify and package": ["ship", str(trained)],
        }.get(stage, ["export", str(trained), "--gguf", stage])
        try:
            done = json.loads(run([*kitae, *arguments, "--json"], home)["said"])
        except SystemExit as error:
            yield {"stage": stage, "failed": str(error)[-300:]}
            return
        trained = trained or Path(done["path"]).name
        yield {"stage": stage, "seconds": round(time.monotonic() - began, 1)}


def cache() -> str:
    from kitae.core.paths import cache_dir

    return str(cache_dir())


def serving(place: Place) -> Iterator[Row]:
    import torch

    from kitae.chat import Message
    from kitae.generate import Settings, TorchEngine, complete, open_engine
    from kitae.models import Target

    counts, length = ((1, 4), 8) if place.tiny else ((1, 8, 32, 64), 128)
    engine = open_engine(Target(place.model), torch.bfloat16)
    assert isinstance(engine, TorchEngine)
    engine.stop_tokens = set()
    texts = [f"Tell me a story about the number {number}, and of all that it has seen." for number in range(2 * counts[-1])]
    prompts = [engine.codec.prompt([Message("user", text)]) for text in texts]

    def kitae(count: int) -> int:
        return sum(len(answer.tokens) for answer in complete(engine, prompts[:count], Settings(max_tokens=length)))

    def transformers(count: int, **more: Any) -> int:
        longest = max(map(len, prompts[:count]))
        padded = torch.tensor([[0] * (longest - len(ids)) + ids for ids in prompts[:count]], device=engine.model.device)
        seen = torch.tensor([[0] * (longest - len(ids)) + [1] * len(ids) for ids in prompts[:count]], device=padded.device)
        wanted = {"max_new_tokens": length, "min_new_tokens": length, "do_sample": False, "pad_token_id": 0}
        with torch.inference_mode():
            written = engine.model.generate(padded, attention_mask=seen, **wanted, **more)
        return int(written[:, longest:].numel())

    for who, ask in (("kitae", kitae), ("transformers", transformers)):
        ask(1)  # what is done only once isn't timed
        for count in (*counts, *([2 * counts[-1]] if who == "transformers" else [])):
            yield timed(place, who, count, partial(ask, count))
    yield timed(
        place, "transformers", counts[-1], lambda: transformers(counts[-1], cache_implementation="static"), "static cache"
    )


def timed(place: Place, who: str, count: int, ask: Callable[[], int], setting: str = "") -> Row:
    row: Row = {"who": who, "sequences": count, **({"setting": setting} if setting else {})}
    if place.left < 5:
        return row | {"skipped": "no time left"}
    if setting:
        ask()  # compiles
    began = time.monotonic()
    tokens = ask()
    return row | {"tokens_per_second": round(tokens / (time.monotonic() - began), 1)}


PARTS: dict[str, Callable[[Place], Iterator[Row]]] = {
    "model": model,
    "training": training,
    "proof": proof,
    "serving": serving,
}
