"""Every method of training, on models shaped like those that people adapt: trained, merged, proven, shipped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, PreTrainedModel, Qwen3Config, Qwen3ForCausalLM

from kitae.models import open_tokenizer

from .conftest import Kitae, workplace

pytestmark = pytest.mark.journey

SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
}
METHODS = {
    "rslora": ("train.lora={r: 8, alpha: 4, rslora: true}",),
    "dora": ("train.method=dora",),
    "full": ("train.method=full", "train.lora=null"),
}


@pytest.fixture(scope="session")
def shaped(starter: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Llama has the starter's own shape; the others have its tokenizer."""
    tokenizer = open_tokenizer(starter)
    torch.manual_seed(0)
    made: dict[str, PreTrainedModel] = {
        "qwen3": Qwen3ForCausalLM(Qwen3Config(vocab_size=len(tokenizer), **SHAPE)),
        "gemma3": Gemma3ForCausalLM(Gemma3TextConfig(vocab_size=len(tokenizer), sliding_window=32, **SHAPE)),
    }
    folders = {"llama": tiny_model}
    for name, model in made.items():
        folders[name] = tmp_path_factory.mktemp("models") / f"tiny-{name}"
        model.save_pretrained(folders[name])
        tokenizer.save_pretrained(folders[name])
    return folders


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("model", ["llama", "qwen3", "gemma3"])
def test_trained_proven_and_shipped(kitae: Kitae, shaped: dict[str, Path], tmp_path: Path, model: str, method: str) -> None:
    recipe = workplace(tmp_path / "w", shaped[model])
    quants = "[]" if model == "gemma3" else "[F16]"  # the converter wants Gemma's own kind of tokenizer
    wanted = (*METHODS[method], f"ship.gguf={quants}", "train.epochs=1", "evaluate.max_new_tokens=4")
    settings = [part for setting in wanted for part in ("--set", setting)]
    done = kitae("train", recipe, *settings, "--json")
    assert done.code == 0, done.err + done.out
    run = done.json["run"]
    shipped = kitae("ship", run, "--json")
    assert shipped.code == 0, shipped.err + shipped.out
    gates = {gate["id"]: gate["verdict"] for gate in shipped.json["gates"]}
    assert gates["merge.changed"] == gates["merge.equivalent"] == "pass"


def test_a_length_that_dora_learned_is_part_of_the_proof(kitae: Kitae, tiny_model: Path, tmp_path: Path) -> None:
    recipe = workplace(tmp_path / "w", tiny_model)
    run = kitae("train", recipe, "--set", "train.method=dora", "--json").json
    assert kitae("merge", run["run"]).code == 0
    file = Path(run["path"]) / "adapter" / "adapter_model.safetensors"
    tensors = load_file(file)
    name = next(name for name in tensors if "magnitude" in name)
    tensors[name] *= 1.5
    save_file(tensors, file, metadata={"format": "pt"})
    verified = kitae("verify", run["run"], "--json").json
    assert "merge.changed" in {gate["id"] for gate in verified["gates"] if gate["verdict"] == "refuse"}
    assert json.loads((file.parent / "adapter_config.json").read_text())["use_dora"] is True
