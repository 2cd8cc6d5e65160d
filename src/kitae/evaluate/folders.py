"""All that is imported before a model of a folder is opened, so that copies need not."""

from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

import kitae.generate.torch_engine

__all__ = ["AutoModelForCausalLM", "AutoTokenizer", "LlamaForCausalLM", "kitae"]
