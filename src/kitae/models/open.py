"""The one way to open a model, its tokenizer and its chat codec."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kitae.chat import ChatCodec, ChatTemplate, HfVocabulary, template_text
from kitae.core.errors import InputError, KitaeError, first_line
from kitae.core.hardware import ran_out_of_memory
from kitae.models.four_bits import nf4, stay_trainable
from kitae.models.source import check_adapter, check_folder

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def open_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    from kitae.models.newllm.register import register_config

    register_config()

    _refuse_remote_code(folder)
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers wraps damage to tokenizer files in many types
        raise InputError("tokenizer-unreadable", where=str(folder), why=first_line(error)) from error


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Without what is left in it of how rows were once cut or filled up: programs that read the file alone would do so."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        backend.no_truncation()
        backend.no_padding()
    tokenizer.save_pretrained(folder)


def open_codec(folder: Path, template_file: str | None = None) -> ChatCodec:
    """The codec of a model folder; `template_file`, or a template's name, replaces the folder's own."""
    tokenizer = open_tokenizer(folder)
    source, origin = tokenizer.chat_template, str(folder)
    if template_file is not None:
        origin = template_file
        source = template_text(template_file)
    if not isinstance(source, str) or not source:
        raise InputError("template-missing", where=str(folder))
    source = source.replace("\r\n", "\n")  # as transformers does when it saves a template
    named = {key: str(value) for key, value in tokenizer.special_tokens_map.items() if isinstance(value, str)}
    bare, whole = (tokenizer("a", add_special_tokens=special)["input_ids"] for special in (False, True))
    named["beginning"] = tokenizer.decode(whole[: whole.index(bare[0])]) if bare and bare[0] in whole else ""
    return ChatCodec(HfVocabulary(tokenizer), ChatTemplate(source, named, origin))


def open_model(folder: Path, dtype: torch.dtype, four_bits: bool = False) -> PreTrainedModel:
    """`four_bits`: its matrices stay in NF4, and are multiplied in `dtype`."""
    from kitae.models.auto import AutoModelForCausalLM

    check_folder(folder)
    _refuse_remote_code(folder)
    more = {"quantization_config": nf4(dtype)} if four_bits else {}
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            **more,
        )
    except (ValueError, KeyError, RuntimeError, OSError, MemoryError) as error:
        raise unreadable(InputError("model-unreadable", where=str(folder), why=first_line(error)), error) from error
    if four_bits:
        stay_trainable(model)
    missing = sorted(report["missing_keys"])
    if missing:  # transformers would fill them with random numbers and go on
        raise InputError("weights-missing", where=str(folder), why=f"{len(missing)}: {', '.join(missing[:5])}")
    return model


def unreadable(damaged: InputError, error: Exception) -> KitaeError:
    """Of what a library could not read. Nothing is wrong with it if there was no room."""
    return KitaeError("too-little-memory", where=damaged.where, why=damaged.why) if ran_out_of_memory(error) else damaged


def open_with_adapter(base: Path, adapter: Path, dtype: torch.dtype, name: str = "default") -> PreTrainedModel:
    from peft import PeftModel

    check_adapter(adapter)
    model = open_model(base, dtype)
    try:
        return PeftModel.from_pretrained(model, adapter, name, autocast_adapter_dtype=False).to(dtype)
    except (ValueError, KeyError, RuntimeError, OSError, MemoryError) as error:
        raise unreadable(InputError("adapter-unreadable", where=str(adapter), why=first_line(error)), error) from error


def add_lora(
    model: PreTrainedModel,
    r: int,
    alpha: float,
    rslora: bool,
    dropout: float,
    targets: str | list[str],
    dora: bool = False,
    tokens: Sequence[int] = (),
) -> PreTrainedModel:
    """`tokens`: those whose own rows of the vocabulary are learned too, where they are read and where they are said."""
    from peft import LoraConfig, get_peft_model

    places = ["embed_tokens"] if model.config.tie_word_embeddings else ["embed_tokens", "lm_head"]
    config = LoraConfig(
        trainable_token_indices={place: list(tokens) for place in places} if tokens else None,
        r=r,
        lora_alpha=alpha,
        use_rslora=rslora,
        use_dora=dora,
        lora_dropout=dropout,
        target_modules=targets,
        task_type="CAUSAL_LM",
    )
    try:
        adapted = get_peft_model(model, config)
    except ValueError as error:
        raise InputError("lora-targets", where=str(targets), why=first_line(error)) from error
    for module in adapted.modules():  # autocast casts anyway; PEFT's own cast to fp32 and back costs a tenth of the time
        if hasattr(module, "cast_input_dtype_enabled"):
            module.cast_input_dtype_enabled = False
    return adapted


def _refuse_remote_code(folder: Path) -> None:
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise InputError("file-unreadable", where=str(folder / "config.json"), why=str(error)) from error
    if "auto_map" in config:
        raise InputError("remote-code", where=str(folder), why=str(config["auto_map"])[:200])
