"""transformers' Auto classes, which know Kitae's own architectures here."""

from __future__ import annotations

from transformers import AutoModelForCausalLM, AutoTokenizer

from kitae.models.newllm.register import register_newllm

__all__ = ["AutoModelForCausalLM", "AutoTokenizer"]

register_newllm()
