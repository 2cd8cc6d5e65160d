"""What a model's files tell the programs that run it, beside its weights: the settings of the model, how tokens are chosen, and
what `tokenizer.json` reads by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kitae.core.errors import InputError, first_line
from kitae.core.files import JsonDict, read_json
from kitae.models.gguf_header import GgufHeader

# What a configuration says without any consequence for what the model computes.
_NO_CONSEQUENCE = {
    *("_name_or_path", "architectures", "transformers_version", "dtype", "torch_dtype", "use_cache", "auto_map", "id2label"),
    *("label2id", "return_dict", "output_attentions", "output_hidden_states", "chunk_size_feed_forward", "problem_type"),
    *("is_encoder_decoder", "initializer_range", "attention_dropout", "hidden_dropout", "pretraining_tp", "model_type"),
    *("bos_token_id", "eos_token_id", "pad_token_id", "unsloth_version", "unsloth_fixed", "kitae"),
}
# The same of generation_config.json; its stop tokens are compared by themselves.
_NO_CHOICE = {
    *("_from_model_config", "transformers_version", "bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id"),
    *("use_cache", "cache_implementation", "cache_config", "output_attentions", "output_hidden_states", "output_scores"),
    *("output_logits", "return_dict_in_generate", "max_length", "trust_remote_code", "transformers.js_config"),
}
_NEUTRAL: JsonDict = {
    "do_sample": False,
    "temperature": 1.0,
    "top_k": 50,
    "top_p": 1.0,
    "min_p": 0.0,
    "typical_p": 1.0,
    "num_beams": 1,
    "repetition_penalty": 1.0,
    "length_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "min_length": 0,
    "num_return_sequences": 1,
    "encoder_repetition_penalty": 1.0,
    "diversity_penalty": 0.0,
    "num_beam_groups": 1,
    "early_stopping": False,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "encoder_no_repeat_ngram_size": 0,
    "remove_invalid_values": False,
}
_SAMPLING = {
    "do_sample",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "top_h",
    "typical_p",
    "epsilon_cutoff",
    "eta_cutoff",
}
_GGUF_NAMES = {
    "temp": "temperature",
    "penalty_repeat": "repetition_penalty",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
}


def model_settings(folder: Path) -> JsonDict:
    """What of config.json decides what the model computes, in the form that transformers gives it."""
    from transformers import AutoConfig

    from kitae.models.newllm.register import register_config

    register_config()

    try:
        said = AutoConfig.from_pretrained(folder, local_files_only=True).get_text_config().to_dict()
    except Exception as error:  # transformers has its own type of error for each kind of damage
        raise InputError("file-unreadable", where=str(folder / "config.json"), why=first_line(error)) from error
    return {key: value for key, value in said.items() if key not in _NO_CONSEQUENCE and not key.startswith("_attn")}


def decoding_defaults(folder: Path) -> JsonDict:
    """What generation_config.json asks for when nobody asks for anything."""
    path = folder / "generation_config.json"
    said = read_json(path) if path.exists() else {}
    return {
        key: value
        for key, value in said.items()
        if key not in _NO_CHOICE and value is not None and value != _NEUTRAL.get(key, None)
    }


def gguf_defaults(header: GgufHeader) -> JsonDict:
    """The same of a GGUF file."""
    found = {name: header.facts.get(f"general.sampling.{key}") for key, name in _GGUF_NAMES.items()}
    values = {name: round(float(value), 6) for name, value in found.items() if value is not None}
    return {name: value for name, value in values.items() if value != _NEUTRAL.get(name)}


def changes_greedy(name: str) -> bool:
    """Whether this default changes answers even where the likeliest token is always taken."""
    return name not in _SAMPLING


@dataclass(frozen=True)
class TokenizerParts:
    vocabulary: JsonDict
    merges: list[str]
    added: dict[str, JsonDict]  # by text: its id, and whether it is a control token


def tokenizer_parts(folder: Path) -> TokenizerParts | None:
    """Of `tokenizer.json`, however it spells them; None if there is no such file."""
    path = folder / "tokenizer.json"
    if not path.exists():
        return None
    said = read_json(path)
    vocabulary, merges = said["model"].get("vocab", {}), said["model"].get("merges", [])
    if isinstance(vocabulary, list):  # of Unigram: pieces with their scores
        vocabulary = {str(piece): [number, score] for number, (piece, score) in enumerate(vocabulary)}
    joined = [merge if isinstance(merge, str) else " ".join(merge) for merge in merges]
    added = said.get("added_tokens", [])
    told = {token["content"]: {name: token.get(name) for name in ("id", "special")} for token in added}
    return TokenizerParts(vocabulary, joined, told)


def read_alone(folder: Path, texts: Sequence[str]) -> JsonDict | None:
    """What programs read that know `tokenizer.json` and nothing else; None if there is no such file.

    `ids`: of each text, as it is. `control`: the control tokens it knows. `begins`, `ends`: what is put around a text. `cut`:
    how long a text may be. `fills`: to what length short ones are filled up.
    """
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    if not path.exists():
        return None
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises plain exceptions
        raise InputError("tokenizer-unreadable", where=str(path), why=first_line(error)) from error
    cut: Any = tokenizer.truncation
    filled: Any = tokenizer.padding
    tokenizer.no_truncation()
    tokenizer.no_padding()
    bare, wrapped = (tokenizer.encode("a", add_special_tokens=special).ids for special in (False, True))
    at = next((i for i in range(len(wrapped)) if wrapped[i : i + len(bare)] == bare), len(wrapped))
    return {
        "ids": [encoding.ids for encoding in tokenizer.encode_batch(list(texts), add_special_tokens=False)],
        "control": [token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special],
        "begins": wrapped[:at],
        "ends": wrapped[at + len(bare) :],
        "cut": None if cut is None else cut["max_length"],
        "fills": None if filled is None else filled["length"],  # without a length only as far as the others in a batch go
    }
