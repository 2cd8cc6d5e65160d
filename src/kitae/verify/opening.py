"""All that is imported before a model of a folder is opened, so that copies need not."""

from transformers import LlamaForCausalLM

from kitae.generate import TorchEngine
from kitae.models.auto import AutoModelForCausalLM, AutoTokenizer

__all__ = ["AutoModelForCausalLM", "AutoTokenizer", "LlamaForCausalLM", "TorchEngine"]
