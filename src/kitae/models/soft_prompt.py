"""Soft prompts: learned numbers before every prompt. What a model makes of them is a cache that every session begins with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kitae.errors import InputError
from kitae.files import read_json
from kitae.models.open import open_model
from kitae.models.source import is_adapter

if TYPE_CHECKING:
    import torch
    from transformers import Cache, PreTrainedModel

_KINDS = ("PROMPT_TUNING", "PREFIX_TUNING")


def is_soft_prompt(folder: Path) -> bool:
    return is_adapter(folder) and read_json(folder / "adapter_config.json").get("peft_type") in _KINDS


def add_soft_prompt(model: PreTrainedModel, kind: str, tokens: int, text: str | None, tokenizer: Path) -> PreTrainedModel:
    from peft import PrefixTuningConfig, PromptTuningConfig, get_peft_model

    if kind == "prefix":
        config = PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=tokens)
    else:
        config = PromptTuningConfig(
            task_type="CAUSAL_LM",
            num_virtual_tokens=tokens,
            prompt_tuning_init="TEXT" if text else "SAMPLE_VOCAB",
            prompt_tuning_init_text=text,
            tokenizer_name_or_path=str(tokenizer) if text else None,
        )
    try:
        return get_peft_model(model, config)
    except (ValueError, KeyError, RuntimeError, AttributeError) as error:
        raise InputError("soft-prompt", where="train.soft_prompt", why=str(error).splitlines()[0][:300]) from error


def open_with_prompt(base: Path, adapter: Path, dtype: torch.dtype) -> tuple[PreTrainedModel, Cache]:
    """The model as it is, and what it makes of the prompt: keys and values of as many tokens."""
    import torch
    from peft import PeftModel

    model = open_model(base, dtype)
    try:
        prompted = PeftModel.from_pretrained(model, adapter)
        with torch.no_grad():
            made = prompted.get_prompt(1)
            if isinstance(made, torch.Tensor):
                made = model(inputs_embeds=made.to(model.dtype), use_cache=True).past_key_values
    except (ValueError, KeyError, RuntimeError, OSError) as error:
        raise InputError("adapter-unreadable", where=str(adapter), why=str(error).splitlines()[0][:300]) from error
    return model, made
