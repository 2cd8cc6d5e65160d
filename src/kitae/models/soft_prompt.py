"""Soft prompts: learned numbers before every prompt. What a model makes of them is a cache that every session begins with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kitae.core.errors import InputError, first_line
from kitae.core.files import read_json
from kitae.models.open import open_model, open_tokenizer, unreadable
from kitae.models.source import check_adapter, is_adapter

if TYPE_CHECKING:
    import torch
    from transformers import Cache, PreTrainedModel

_KINDS = ("PROMPT_TUNING", "PREFIX_TUNING")


def is_soft_prompt(folder: Path) -> bool:
    return is_adapter(folder) and read_json(folder / "adapter_config.json").get("peft_type") in _KINDS


def add_soft_prompt(model: PreTrainedModel, kind: str, tokens: int, text: str | None, tokenizer: Path) -> PreTrainedModel:
    """It begins as tokens that the model knows: those of `text`, over and over, or some at random."""
    import torch
    from peft import PrefixTuningConfig, PromptTuningConfig, get_peft_model

    settings = PrefixTuningConfig if kind == "prefix" else PromptTuningConfig
    words = open_tokenizer(tokenizer)(text, add_special_tokens=False)["input_ids"] if text else []
    size = model.get_input_embeddings().weight.shape[0]
    ids = torch.tensor((words * tokens)[:tokens] if words else torch.randint(size, (tokens,)).tolist(), device=model.device)
    try:
        with torch.no_grad():
            start = _as_prefix(model, ids) if kind == "prefix" else model.get_input_embeddings()(ids)
        adapted = get_peft_model(model, settings(task_type="CAUSAL_LM", num_virtual_tokens=tokens))
        weight = adapted.prompt_encoder[adapted.active_adapter].embedding.weight
        if weight.shape != start.shape:
            raise ValueError(f"{tuple(weight.shape)} ≠ {tuple(start.shape)}")
    except (ValueError, KeyError, RuntimeError, AttributeError) as error:
        raise InputError("soft-prompt", where="train.soft_prompt", why=first_line(error)) from error
    weight.data.copy_(start)
    return adapted


def _as_prefix(model: PreTrainedModel, ids: torch.Tensor) -> torch.Tensor:
    """What the model makes of these tokens in every layer, in the order in which PEFT keeps it. Its own start, at random, is
    so far from anything the model knows that it has to be unlearned first."""
    import torch

    cache = model(input_ids=ids[None], use_cache=True).past_key_values
    parts = [part[0].transpose(0, 1).flatten(1) for layer in cache.layers for part in (layer.keys, layer.values)]
    return torch.cat(parts, dim=1)


def open_with_prompt(base: Path, adapter: Path, dtype: torch.dtype, device: str) -> tuple[PreTrainedModel, Cache]:
    """The model as it is, and what it makes of the prompt: keys and values of as many tokens."""
    import torch
    from peft import PeftModel

    check_adapter(adapter)
    model = open_model(base, dtype).to(device)
    try:
        prompted = PeftModel.from_pretrained(model, adapter).to(device)
        with torch.no_grad():
            made = prompted.get_prompt(1)
            if isinstance(made, torch.Tensor):
                made = model(inputs_embeds=made.to(model.dtype), use_cache=True).past_key_values
    except (ValueError, KeyError, RuntimeError, OSError, MemoryError) as error:
        raise unreadable(InputError("adapter-unreadable", where=str(adapter), why=first_line(error)), error) from error
    return model, made
