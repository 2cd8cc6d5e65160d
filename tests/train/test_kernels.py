"""Liger's kernels teach what the plain model learns. They want a GPU and `pip install liger-kernel`; or Triton's interpreter:
TRITON_INTERPRET=1 pytest tests/train/test_kernels.py"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from kitae.core.errors import InputError
from kitae.train.lean import make_lean

SHAPE = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
}
MODELS = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**SHAPE)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**{name: value for name, value in SHAPE.items() if name != "head_dim"})),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SHAPE)),
    "gemma3": lambda: Gemma3ForCausalLM(Gemma3TextConfig(**SHAPE)),
}
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
needs_liger = pytest.mark.skipif(
    not find_spec("liger_kernel") or not (torch.cuda.is_available() or INTERPRETED),
    reason="Liger, and a GPU or the interpreter",
)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> str:
    if not INTERPRETED:
        return "cuda"
    from triton.runtime import interpreter

    usual = interpreter._implicit_cvt

    def with_floats(value: object) -> object:  # which it leaves as they are, and kernels then ask for their type
        if not isinstance(value, float):
            return usual(value)
        single = interpreter.tl.float32
        return interpreter.tl.tensor(interpreter.TensorHandle(np.array([value], np.float32), single), single)

    monkeypatch.setattr(interpreter, "_implicit_cvt", with_floats)
    # Functions that only a GPU's library has.
    monkeypatch.setattr("liger_kernel.ops.rms_norm.rsqrt", lambda x: interpreter.tl.math.rsqrt(x))
    monkeypatch.setattr("liger_kernel.ops.geglu.tanh", lambda x: 1 - 2 / (interpreter.tl.math.exp(2 * x) + 1))
    return "cpu"


def learned(model: nn.Module, device: str) -> tuple[float, dict[str, torch.Tensor]]:
    ids = torch.randint(0, 97, (2, 23), generator=torch.Generator().manual_seed(0)).to(device)
    model.zero_grad()
    loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    return float(loss.detach()), {name: w.grad.clone() for name, w in model.named_parameters() if w.grad is not None}


@needs_liger
@pytest.mark.parametrize("adapter", [False, True])
@pytest.mark.parametrize("make", MODELS)
def test_a_model_learns_the_same(make: str, adapter: bool, device: str) -> None:
    from kitae.train.kernels import use_liger

    torch.manual_seed(0)
    model: PreTrainedModel = MODELS[make]()
    for name, weights in model.named_parameters():
        if "norm" in name:  # at the beginning all are one, or zero, and an error could hide
            nn.init.normal_(weights, mean=float(weights.detach().mean()), std=0.3)
    if adapter:
        model = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
        for name, weights in model.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(weights, std=0.1)
    model = model.to(device).train()
    loss, gradients = learned(model, device)
    library = dict(vars(sys.modules[MODELS[make]().__module__]))
    if adapter:
        make_lean(model)
    use_liger(model)
    used = {m.forward.__module__.split(".")[0] for m in model.modules() if "norm" in type(m).__name__.lower()}
    assert used == {"liger_kernel"}
    assert any(m.forward.__module__.startswith("liger") for m in model.modules() if type(m).__name__.endswith("MLP"))
    again, now = learned(model, device)
    assert again == pytest.approx(loss, rel=1e-5)
    assert now.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(now[name], gradient, atol=2e-5 * float(gradient.abs().max()), rtol=1e-3, msg=name)
    assert vars(sys.modules[MODELS[make]().__module__]) == library  # so models opened later are the usual ones


@needs_liger
def test_a_model_that_liger_does_not_know(device: str, tmp_path: Path) -> None:
    """Or whose activation it would replace by another."""
    from kitae.train.kernels import check_liger, use_liger

    gpt = GPT2LMHeadModel(GPT2Config(vocab_size=97, n_embd=32, n_layer=1, n_head=2))
    for model in (gpt, LlamaForCausalLM(LlamaConfig(**SHAPE, hidden_act="gelu"))):
        model.config.save_pretrained(tmp_path)
        for check, what in ((use_liger, model), (check_liger, tmp_path)):
            with pytest.raises(InputError) as caught:
                check(what)
            assert caught.value.kind == "kernels-model"
