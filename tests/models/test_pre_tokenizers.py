"""Each pre-tokenizer cuts as llama.cpp does under the same name: every character of Unicode, and strings that are hard."""

from __future__ import annotations

from pathlib import Path

import pytest
from corpus import corpus
from llama_vocabulary import as_llama

from kitae.models.pre_tokenizers import PRE_TOKENIZERS
from kitae.models.vocabulary import Order
from kitae.models.vocabulary.proof import all_characters, hard_strings
from kitae.models.vocabulary.trainers import train

NUMBERS = ["1234567 12345 3.14 2024-05-17 １２３４ 99999\n\n\n    x\n        y\t\t z\r\n DON'T don't I'm WE'LL"] * 3


@pytest.mark.slow(10)
@pytest.mark.parametrize("name", PRE_TOKENIZERS)
def test_llama_cpp_cuts_the_same(name: str, tmp_path: Path) -> None:
    tokenizer = train(Order.of("bpe", 1000, name, []), [*corpus(), *NUMBERS])
    model = as_llama(tokenizer.to_str(), name, tmp_path / "vocabulary.gguf")
    texts = [*all_characters(), *hard_strings(), *corpus(), *NUMBERS]
    assert len(texts) > 800
    differing = [
        text[:40]
        for text in texts
        if tokenizer.encode(text, add_special_tokens=False).ids != model.vocabulary.encode(text, parse_control=False)
    ]
    model.close()
    assert differing == []


@pytest.mark.parametrize(("ours", "theirs"), [("llama-bpe", "qwen2"), ("gpt-2", "smollm"), ("gpt-2", "qwen2")])
def test_another_name_would_be_noticed(ours: str, theirs: str, tmp_path: Path) -> None:
    tokenizer = train(Order.of("bpe", 1000, ours, []), [*corpus(), *NUMBERS])
    model = as_llama(tokenizer.to_str(), theirs, tmp_path / "vocabulary.gguf")
    assert [t for t in NUMBERS if tokenizer.encode(t).ids != model.vocabulary.encode(t, parse_control=False)]
    model.close()
