"""Makes transformers' Auto classes know New-LLM."""

from __future__ import annotations


def register_config() -> None:
    """Enough to read what a folder holds; it loads no torch."""
    from transformers import AutoConfig

    from kitae.models.newllm.config import NewLLMConfig

    AutoConfig.register(NewLLMConfig.model_type, NewLLMConfig, exist_ok=True)


def register_newllm() -> None:
    """Lets `AutoModelForCausalLM.from_pretrained` open New-LLM folders. What Kitae itself opens needs no such call."""
    from transformers import AutoModelForCausalLM

    from kitae.models.newllm.config import NewLLMConfig
    from kitae.models.newllm.modeling import NewLLMForCausalLM

    register_config()
    AutoModelForCausalLM.register(NewLLMConfig, NewLLMForCausalLM, exist_ok=True)
