"""transformers' Auto classes, which know Kitae's own architectures here."""

from __future__ import annotations

from transformers import AutoModelForCausalLM, AutoTokenizer

from kitae.models.newllm import modeling

__all__ = ["AutoModelForCausalLM", "AutoTokenizer", "register_newllm"]


def register_newllm() -> None:
    """Lets `AutoModelForCausalLM.from_pretrained` open New-LLM folders. What Kitae itself opens needs no such call."""
    modeling.register()
