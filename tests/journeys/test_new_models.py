"""A model that begins with random weights goes the way of any other; one changed line chooses its architecture."""

from __future__ import annotations

from pathlib import Path

import pytest

from kitae.core.files import read_json

from .conftest import Kitae, workplace

pytestmark = pytest.mark.journey


def recipe_for(folder: Path, arch: str, tokenizer: Path, more: str = "") -> Path:
    recipe = workplace(folder, tokenizer)
    text = recipe.read_text()
    start = f"model: {{source: new, max_length: 256, new: {{arch: {arch}, tokenizer: {tokenizer}, hidden_size: 32{more}}}}}"
    text = text.replace(f"model: {{source: {tokenizer}, max_length: 256}}", start)
    text = text.replace("train: {epochs", "train: {method: full, epochs").replace(", lora: {r: 8, alpha: 16}", "")
    recipe.write_text(text.replace("ship: {gguf: [F16, Q8_0]}\n", ""))
    return recipe


@pytest.mark.parametrize("arch", ["newllm", "alibi", "sliding", "gru", "mingru"])
def test_trained_from_random_weights(kitae: Kitae, tiny_model: Path, tmp_path: Path, arch: str) -> None:
    done = kitae("train", recipe_for(tmp_path, arch, tiny_model), "--json")
    assert done.code == 0, done.err + done.out
    run = Path(done.json["path"])
    assert read_json(run / "manifest.json")["model"]["folder"] == str(run / "start")
    assert kitae("generate", done.json["run"], "lunch with Mei", "--max-tokens", 4).code == 0


def test_newllm_ships_without_gguf_and_says_why(kitae: Kitae, tiny_model: Path, tmp_path: Path) -> None:
    run = kitae("train", recipe_for(tmp_path, "newllm", tiny_model, ", blocks: [1, 2]"), "--json").json["run"]
    refused = kitae("ship", run, "--quant", "F16", "--json")
    assert (refused.code, refused.json["error"]["kind"]) == (2, "gguf-architecture")
    done = kitae("ship", run, "--json")
    assert done.code == 0, done.err + done.out
    assert [row["form"] for row in done.json["table"]] == ["base", "trained", "merged"]
    package = Path(done.json["package"])
    assert not list(package.glob("*.gguf"))
    assert "llama.cpp has no model of this kind" in (package / "README.md").read_text()
    assert kitae("generate", package, "lunch with Mei", "--max-tokens", 4).code == 0
    export = kitae("export", package, "--gguf", "F16", "--json", "--out", tmp_path / "x.gguf")
    assert (export.code, export.json["error"]["kind"]) == (2, "gguf-architecture")


def test_a_new_llama_ships_as_gguf(kitae: Kitae, tiny_model: Path, tmp_path: Path) -> None:
    run = kitae("train", recipe_for(tmp_path, "llama", tiny_model, ", layers: 2"), "--json").json["run"]
    done = kitae("ship", run, "--quant", "F16", "--json")
    assert done.code == 0, done.err + done.out
    assert [row["form"] for row in done.json["table"]] == ["base", "trained", "merged", "F16"]


def test_a_new_model_needs_a_tokenizer_that_exists(kitae: Kitae, tiny_model: Path, tmp_path: Path) -> None:
    recipe = recipe_for(tmp_path, "llama", tiny_model)
    recipe.write_text(recipe.read_text().replace(f"tokenizer: {tiny_model}", "tokenizer: ./none"))
    for command in ("train", "check"):
        done = kitae(*(("recipe", "check") if command == "check" else (command,)), recipe, "--json")
        assert (done.code, done.json["error"]["kind"]) == (2, "model-missing")
    assert not (kitae.home / "runs").exists()


def test_a_new_llama_with_its_own_tokenizer_ships_as_gguf(kitae: Kitae, tmp_path: Path) -> None:
    recipe = recipe_for(tmp_path, "llama", tmp_path / "own", ", layers: 2")
    made = kitae("tokenizer", "train", tmp_path / "train.jsonl", "--out", tmp_path / "own", "--vocab-size", 512)
    assert made.code == 0, made.err
    done = kitae("train", recipe, "--json")
    assert done.code == 0, done.err + done.out
    shipped = kitae("ship", done.json["run"], "--quant", "F16", "--json")
    assert shipped.code == 0, shipped.err + shipped.out
    assert {gate["id"]: gate["verdict"] for gate in shipped.json["gates"]}["gguf.tokens"] == "pass"


def test_fewer_parameters_than_any_width_has(kitae: Kitae, tiny_model: Path, tmp_path: Path) -> None:
    recipe = recipe_for(tmp_path, "newllm", tiny_model)
    recipe.write_text(recipe.read_text().replace("hidden_size: 32", "parameters: 1000"))
    done = kitae("train", recipe, "--json")
    assert (done.code, done.json["error"]["kind"]) == (2, "parameters-few")
