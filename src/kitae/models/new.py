"""Models that begin with random weights: a folder like any other, so everything that follows treats it like any other."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from kitae.core.errors import InputError, first_line
from kitae.core.files import staged_folder
from kitae.models.open import open_tokenizer
from kitae.models.peek import Size

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

NEWLLM = "newllm"  # what config.json says of our own models, without importing them


@dataclass(frozen=True)
class Design:
    """As the recipe describes it, which is also where each value was checked."""

    arch: str
    hidden_size: int
    parameters: int | None  # when given, hidden_size follows from it
    layers: int
    heads: int
    kv_heads: int
    feed_forward: int
    window: int
    blocks: list[int]
    cell: str
    solver: str
    passes: int
    settling: float
    tolerance: float
    longest_memory: float
    dropout: float
    block_dropout: float
    mixing: float


def create_model(design: Design, tokenizer_folder: Path, longest: int, seed: int, folder: Path) -> None:
    """Random weights that depend on the seed alone, with the tokenizer beside them."""
    from transformers import set_seed

    from kitae.models.auto import AutoModelForCausalLM

    tokenizer = open_tokenizer(tokenizer_folder)
    config = _config(_sized(design, tokenizer, longest), tokenizer, longest)
    set_seed(seed)
    model = AutoModelForCausalLM.from_config(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    with staged_folder(folder) as stage:
        model.save_pretrained(stage)
        tokenizer.save_pretrained(stage)


def size_of(design: Design, tokenizer_folder: Path, longest: int) -> Size:
    tokenizer = open_tokenizer(tokenizer_folder)
    design = _sized(design, tokenizer, longest)
    config = _config(design, tokenizer, longest)
    size = Size.of_config(_count(config), {name: getattr(config, name, None) for name in Size.READ})
    return replace(size, passes=design.passes) if design.arch == NEWLLM else size


def _sized(design: Design, tokenizer: PreTrainedTokenizerBase, longest: int) -> Design:
    """The width with which a model comes nearest to the parameters that it should have."""
    wanted = design.parameters
    if wanted is None:
        return design
    step = math.lcm(8, 2 * design.heads)  # rotary embeddings take pairs of each head

    def count(steps: int) -> int:
        return _count(_config(replace(design, hidden_size=steps * step), tokenizer, longest))

    if wanted < count(1):
        raise InputError("parameters-few", where="model.new.parameters", wanted=f"{wanted:,}", least=f"{count(1):,}")
    low, high = 1, 65536 // step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) <= wanted else (low, middle)
    nearest = min((low, high), key=lambda steps: abs(count(steps) - wanted))
    return replace(design, hidden_size=nearest * step, parameters=None)


def _count(config: PreTrainedConfig) -> int:
    """On a model without weights."""
    import torch

    from kitae.models.auto import AutoModelForCausalLM

    with torch.device("meta"):
        return sum(weights.numel() for weights in AutoModelForCausalLM.from_config(config).parameters())


def _config(design: Design, tokenizer: PreTrainedTokenizerBase, longest: int) -> PreTrainedConfig:
    from transformers import BloomConfig, LlamaConfig, MistralConfig

    from kitae.models.newllm.config import NewLLMConfig

    common = {
        "vocab_size": len(tokenizer),
        "hidden_size": design.hidden_size,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": True,
    }
    attention = {
        "num_hidden_layers": design.layers,
        "num_attention_heads": design.heads,
        "num_key_value_heads": design.kv_heads,
        "intermediate_size": design.feed_forward or -(-design.hidden_size * 8 // 3 // 32) * 32,
        "max_position_embeddings": longest,
        "attention_dropout": design.dropout,
    }
    try:
        if design.arch == "llama":
            return LlamaConfig(**common, **attention)
        if design.arch == "sliding":
            return MistralConfig(**common, **attention, sliding_window=design.window)
        if design.arch == "alibi":
            shape = {"n_layer": design.layers, "n_head": design.heads, "hidden_dropout": design.dropout}
            return BloomConfig(**common, **shape, attention_dropout=design.dropout)
        recurrent = design.arch != "newllm"
        return NewLLMConfig(
            **common,
            blocks=[1] * design.layers if recurrent else design.blocks,
            cell=design.arch if recurrent else design.cell,
            solver=design.solver,
            passes=design.passes,
            heads=design.heads,
            settling=design.settling,
            tolerance=design.tolerance,
            longest_memory=design.longest_memory,
            dropout=design.dropout,
            block_dropout=design.block_dropout,
            mixing=design.mixing,
        )
    except (ValueError, TypeError) as error:
        raise InputError("design", where="model.new", why=first_line(error)) from error
