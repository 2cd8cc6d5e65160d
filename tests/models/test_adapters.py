"""Adapters of other kinds than two matrices, and bases in four bits."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import GPT2Config, GPT2LMHeadModel

from kitae.chat import Message
from kitae.core.errors import InputError
from kitae.generate import Settings, complete, open_engine
from kitae.generate.engine import Part
from kitae.models import (
    Target,
    add_lora,
    add_soft_prompt,
    is_soft_prompt,
    open_model,
    open_tokenizer,
    open_with_adapter,
    rounded,
)
from kitae.verify.weights import changed


@pytest.fixture(scope="module")
def model(tiny_llama: Callable[..., Path]) -> Path:
    return tiny_llama(torch.bfloat16, tie_word_embeddings=False)


def shaken(adapted: torch.nn.Module) -> None:
    torch.manual_seed(1)
    with torch.no_grad():
        for weights in adapted.parameters():
            if weights.requires_grad:
                weights += 0.3 * torch.randn_like(weights)


@pytest.mark.parametrize("kind", ["prompt", "prefix"])
def test_an_engine_says_what_peft_says(model: Path, tmp_path: Path, kind: str) -> None:
    """Alone, in a batch with others, and token after token."""
    adapted = add_soft_prompt(open_model(model, torch.float32), kind, 6, None, model)
    shaken(adapted)
    adapted.save_pretrained(tmp_path / "adapter")
    assert is_soft_prompt(tmp_path / "adapter")
    engine = open_engine(Target(tmp_path / "adapter", base=model))
    plain = open_engine(Target(model))
    ids = [5, 90, 17, 400, 33, 8]
    with torch.no_grad():
        expected = adapted(input_ids=torch.tensor([ids])).logits[0, -len(ids) :].numpy()
    np.testing.assert_allclose(engine.logits(ids, 2), expected[2:-1], atol=1e-4)
    assert np.abs(plain.logits(ids, 2) - expected[2:-1]).max() > 0.01
    decoder = engine.open(4, 20)
    texts = {7: ids, 8: ids[:3], 9: ids[:4]}
    for number, text in texts.items():
        assert decoder.begin(number, text) == 0
    found = decoder.read([Part(number, text) for number, text in texts.items()])
    np.testing.assert_allclose(found, [expected[5], expected[2], expected[3]], atol=1e-4)
    np.testing.assert_allclose(
        decoder.read([Part(7, [1]), Part(8, [ids[3]]), Part(9, [ids[4]])])[1:], [expected[3], expected[4]], atol=1e-4
    )
    decoder.drop([7, 8])
    np.testing.assert_allclose(decoder.read([Part(9, [ids[5]])]), [expected[5]], atol=1e-4)
    assert engine.context == plain.context - 6
    prompts = [engine.codec.prompt([Message("user", text)]) for text in ("one", "a longer one")]
    together = complete(engine, prompts, Settings(max_tokens=5))
    assert together == [complete(engine, [prompt], Settings(max_tokens=5))[0] for prompt in prompts]


@pytest.mark.parametrize("kind", ["prompt", "prefix"])
def test_a_soft_prompt_begins_as_the_words_it_is_given(model: Path, kind: str) -> None:
    tokenizer = open_tokenizer(model)
    words = tokenizer("say it again", add_special_tokens=False)["input_ids"]
    adapted = add_soft_prompt(open_model(model, torch.float32), kind, 2 * len(words), "say it again", model)
    ids = [5, 90, 17, 400]
    with torch.no_grad():
        said = adapted(input_ids=torch.tensor([ids])).logits[0, -len(ids) :]
        expected = open_model(model, torch.float32)(input_ids=torch.tensor([[*words, *words, *ids]])).logits[0, -len(ids) :]
    torch.testing.assert_close(said, expected, atol=1e-4, rtol=0)


def test_a_rounded_model_is_the_one_that_four_bits_tell(model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KITAE_CACHE", str(tmp_path))
    folder = rounded(model)
    assert rounded(model) == folder
    assert "quantization_config" not in json.loads((folder / "config.json").read_text())
    before, after = (load_file(f / "model.safetensors") for f in (model, folder))
    apart = {name for name in before if not torch.equal(before[name], after[name])}
    assert apart == {name for name in before if "proj" in name}
    ids = torch.tensor([[5, 90, 17, 400, 33, 8]])
    with torch.no_grad():
        plain = open_model(folder, torch.bfloat16)(input_ids=ids).logits
        again = open_model(folder, torch.bfloat16, four_bits=True)(input_ids=ids).logits
        original = open_model(model, torch.bfloat16)(input_ids=ids).logits
    rounding = (plain - original).abs().max()
    assert (plain - again).abs().max() < 0.1 * rounding


def test_what_lies_beside_the_weights_makes_another_rounded_model(
    model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KITAE_CACHE", str(tmp_path / "cache"))
    shutil.copytree(model, tmp_path / "copy")
    before = rounded(tmp_path / "copy")
    (tmp_path / "copy" / "generation_config.json").write_text('{"eos_token_id": 7}')
    after = rounded(tmp_path / "copy")
    assert after != before
    assert json.loads((after / "generation_config.json").read_text()) == {"eos_token_id": 7}


def test_matrices_that_lie_the_other_way_are_not_rounded_wrongly(model: Path, tmp_path: Path) -> None:
    GPT2LMHeadModel(GPT2Config(vocab_size=200, n_embd=64, n_layer=1, n_head=4)).save_pretrained(tmp_path / "gpt2")
    open_tokenizer(model).save_pretrained(tmp_path / "gpt2")
    with pytest.raises(InputError) as caught:
        rounded(tmp_path / "gpt2")
    assert caught.value.kind == "four-bits"


def test_four_bits_let_gradients_through_after_they_were_asked_without(model: Path) -> None:
    network = open_model(model, torch.bfloat16, four_bits=True)
    ids = torch.tensor([[5, 90, 17, 400, 33, 8]])
    states = network.get_input_embeddings()(ids).detach().requires_grad_()

    def slopes() -> torch.Tensor:
        (found,) = torch.autograd.grad(network.train()(inputs_embeds=states).logits.float().sum(), states)
        return found

    before = slopes()
    with torch.no_grad():
        network.eval()(input_ids=ids)
    assert torch.equal(slopes(), before)


@pytest.mark.parametrize("tied", [True, False])
def test_rows_of_tokens_are_learned_merged_and_proven(model: Path, tmp_path: Path, tied: bool) -> None:
    base = open_model(model, torch.float32)
    base.config.tie_word_embeddings = tied
    if tied:
        base.tie_weights()
        base.lm_head.weight = base.model.embed_tokens.weight
    base.save_pretrained(tmp_path / "base")
    open_tokenizer(model).save_pretrained(tmp_path / "base")
    adapted = add_lora(open_model(tmp_path / "base", torch.float32), 4, 8, False, 0.0, "all-linear", tokens=[2, 9])
    shaken(adapted)
    adapted.save_pretrained(tmp_path / "adapter")
    merged = open_with_adapter(tmp_path / "base", tmp_path / "adapter", torch.float32).merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")
    assert changed(tmp_path / "base", tmp_path / "adapter", tmp_path / "merged").verdict == "pass"
    with torch.no_grad():
        merged.model.embed_tokens.weight[9] += 1
    merged.save_pretrained(tmp_path / "wrong")
    gate = changed(tmp_path / "base", tmp_path / "adapter", tmp_path / "wrong")
    assert (gate.verdict, gate.case) == ("refuse", "altered")
    with torch.no_grad():
        merged.model.embed_tokens.weight[9] -= 1
        merged.get_output_embeddings().weight[2] = base.get_output_embeddings().weight[2]
    merged.save_pretrained(tmp_path / "unlearned")
    assert changed(tmp_path / "base", tmp_path / "adapter", tmp_path / "unlearned").verdict == "refuse"
