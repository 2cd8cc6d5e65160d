"""llama.cpp's own reading of a tokenizer that was made here, from a GGUF file that holds nothing else."""

from __future__ import annotations

import json
from pathlib import Path

from gguf import GGUFWriter, TokenType

from kitae.models import LlamaModel


def as_llama(tokenizer_json: str, pre: str, path: Path) -> LlamaModel:
    data = json.loads(tokenizer_json)
    special = {token["id"]: token["content"] for token in data["added_tokens"]}
    vocab = {**data["model"]["vocab"], **{text: i for i, text in special.items()}}
    ordered = sorted(vocab, key=lambda text: vocab[text])
    writer = GGUFWriter(path, "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(ordered)
    writer.add_token_types([TokenType.CONTROL if vocab[text] in special else TokenType.NORMAL for text in ordered])
    writer.add_token_merges([" ".join(pair) for pair in data["model"]["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return LlamaModel(path, vocab_only=True)
