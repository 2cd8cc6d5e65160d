"""Opening a model from starter name, folder, hub id or GGUF; adapters; facts about models."""

from kitae.models.facts import Facts, count_parameters, deciding_files, folder_facts, safetensors_header, weight_files
from kitae.models.four_bits import rounded
from kitae.models.gguf_header import GgufHeader, GgufParts, Tensor, read_gguf_header
from kitae.models.gguf_types import block_size, row_bytes, type_number
from kitae.models.light import TokenCounter, light_codec, light_vocabulary
from kitae.models.llama import LlamaModel, LlamaVocabulary
from kitae.models.llama_library import CHOICE, NATIVE, PREBUILT, library, llama_places, llama_version
from kitae.models.new import NEWLLM, Design, create_model, size_of
from kitae.models.open import add_lora, open_codec, open_model, open_tokenizer, open_with_adapter, save_tokenizer
from kitae.models.peek import Size, peek
from kitae.models.settings import changes_greedy, decoding_defaults, gguf_defaults, model_settings, read_alone, tokenizer_parts
from kitae.models.soft_prompt import add_soft_prompt, is_soft_prompt, open_with_prompt
from kitae.models.source import (
    STARTERS,
    base_of,
    check_adapter,
    check_folder,
    check_safetensors,
    is_adapter,
    is_model_folder,
    locate,
    locate_tokenizer,
    starter_file,
)
from kitae.models.target import Target

__all__ = [
    "CHOICE",
    "NATIVE",
    "NEWLLM",
    "PREBUILT",
    "STARTERS",
    "Design",
    "Facts",
    "GgufHeader",
    "GgufParts",
    "LlamaModel",
    "LlamaVocabulary",
    "Size",
    "Target",
    "Tensor",
    "TokenCounter",
    "add_lora",
    "add_soft_prompt",
    "base_of",
    "block_size",
    "changes_greedy",
    "check_adapter",
    "check_folder",
    "check_safetensors",
    "count_parameters",
    "create_model",
    "deciding_files",
    "decoding_defaults",
    "folder_facts",
    "gguf_defaults",
    "is_adapter",
    "is_model_folder",
    "is_soft_prompt",
    "library",
    "light_codec",
    "light_vocabulary",
    "llama_places",
    "llama_version",
    "locate",
    "locate_tokenizer",
    "model_settings",
    "open_codec",
    "open_model",
    "open_tokenizer",
    "open_with_adapter",
    "open_with_prompt",
    "peek",
    "read_alone",
    "read_gguf_header",
    "rounded",
    "row_bytes",
    "safetensors_header",
    "save_tokenizer",
    "size_of",
    "starter_file",
    "tokenizer_parts",
    "type_number",
    "weight_files",
]
