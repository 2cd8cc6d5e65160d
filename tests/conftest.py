"""One cache of imported models for all tests, a home of its own for each."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("KITAE_CACHE", str(ROOT / ".cache" / "kitae-tests"))
os.environ["KITAE_LANG"] = "en"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side; threads that wait in circles take the others' cores

STARTER = "smollm2-135m-instruct"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    monkeypatch.setenv("KITAE_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def starter() -> Path:
    from kitae.models import locate

    return locate(STARTER)


@pytest.fixture(scope="session")
def codec(starter: Path):
    from kitae.models import open_codec

    return open_codec(starter)


Tiny = Callable[..., Path]


@pytest.fixture(scope="session")
def tiny_llama(starter: Path, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Folders of models that know nothing, with the starter's tokenizer and template; named by what is not as usual."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from kitae.models import open_tokenizer

    def make(dtype: torch.dtype = torch.float32, **changes: object) -> Path:
        folder = tmp_path_factory.mktemp("models") / "tiny-llama"
        torch.manual_seed(0)
        tokenizer = open_tokenizer(starter)
        shape = {
            "vocab_size": len(tokenizer),
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 512,
            "tie_word_embeddings": True,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 2,
        }
        LlamaForCausalLM(LlamaConfig(**{**shape, **changes})).to(dtype).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return make
