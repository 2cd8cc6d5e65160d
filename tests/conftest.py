"""One cache of imported models for all tests, a home of its own for each."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("KITAE_CACHE", str(ROOT / ".cache" / "kitae-tests"))
os.environ["KITAE_LANG"] = "en"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side; threads that wait in circles take the others' cores
os.environ.setdefault("KITAE_THREADS", "1")  # of llama.cpp, which otherwise takes as many as there are cores in every worker

STARTER = "smollm2-135m-instruct"
_JOURNEY = 10  # seconds that one takes for which no other time is written down


@pytest.hookimpl(tryfirst=True)  # before tests are left out by their markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests come first, so that no worker begins one when all else is done. xdist gives the first worker the first half of
    all tests, the second one the other half, and only later takes from the end of what is left."""
    for item in items:
        if "journeys" in item.path.parts:
            item.add_marker("journey")
        if item.get_closest_marker("journey") and not item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.slow(_JOURNEY))
    long = sorted((item for item in items if item.get_closest_marker("slow")), key=_seconds, reverse=True)
    short = [item for item in items if not item.get_closest_marker("slow")]
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    size, ordered = len(items) // workers, []
    for worker in range(workers):
        own = long[worker::workers]
        room = size - len(own) if worker + 1 < workers else len(short)
        ordered += [*own, *short[: max(0, room)]]
        del short[: max(0, room)]
    items[:] = ordered


def _seconds(item: pytest.Item) -> float:
    marker = item.get_closest_marker("slow")
    assert marker is not None
    return float(marker.args[0])


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
    """Folders of models that know nothing, with the starter's tokenizer and template; named by what is not as usual. `tokens`:
    only the first so many, because most of what a small model does is to say how likely each token is."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from kitae.models import open_tokenizer

    def make(dtype: torch.dtype = torch.float32, tokens: int | None = None, **changes: object) -> Path:
        folder = tmp_path_factory.mktemp("models") / "tiny-llama"
        tokenizer = open_tokenizer(starter)
        tokenizer.save_pretrained(folder)
        if tokens is not None:
            _keep_first(folder, tokens)
        torch.manual_seed(0)
        shape = {
            "vocab_size": tokens or len(tokenizer),
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
        return folder

    return make


def _keep_first(folder: Path, count: int) -> None:
    """Of a tokenizer's tokens, which are numbered as they were learned, after control tokens and bytes."""
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    model = tokenizer["model"]
    model["vocab"] = {text: number for text, number in model["vocab"].items() if number < count}
    model["merges"] = [pair for pair in model["merges"] if "".join(pair) in model["vocab"]]
    path.write_text(json.dumps(tokenizer))
    config = (
        folder / "tokenizer_config.json"
    )  # llama.cpp's converter knows a tokenizer by what its whole vocabulary makes of a text
    config.write_text(json.dumps(json.loads(config.read_text()) | {"kitae": {"kind": "bpe", "llama_cpp_pre": "smollm"}}))
