"""Adapters on one base, newer runs, embeddings, thoughts, guesses: what a server can be asked to serve."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from openai import OpenAI

from kitae.chat import Message
from kitae.generate import LlamaEngine, Settings, complete, open_engine
from kitae.models import Target, add_lora, open_model, starter_file
from kitae.runs import create_run
from tests.chat.templates import FAMILIES
from tests.conftest import Tiny
from tests.journeys.breaking import rewrite_gguf

from .conftest import serving, until

pytestmark = pytest.mark.slow(60)


def adapter(base: Path, out: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    adapted = add_lora(open_model(base, torch.float32), 4, 8, False, 0.0, "all-linear")
    for name, weight in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, 0, 0.3)
    adapted.save_pretrained(out)
    return out


def test_adapters_of_one_base_do_not_mix(tiny_llama: Tiny, tmp_path: Path) -> None:
    base = tiny_llama(tokens=4096)
    targets = {
        "one": Target(adapter(base, tmp_path / "one", 1), base=base),
        "two.b": Target(adapter(base, tmp_path / "two", 2), base=base),
    }
    alone = {}
    for name, target in {"base": Target(base), **targets}.items():
        engine = open_engine(target)
        prompt = engine.codec.prompt([Message("user", "Hi")])
        alone[name] = complete(engine, [prompt], Settings(max_tokens=12))[0].text
    assert len(set(alone.values())) == 3
    arguments = [part for name, target in targets.items() for part in ("--adapter", f"{name}={target.path}")]
    with serving(f"base={base}", *arguments, "--at-once", "4") as server:
        assert {model["id"] for model in server.get("/v1/models")[1]["data"]} == set(alone)
        for _ in range(2):
            for name, text in alone.items():
                _, reply = server.chat("Hi", model=name, max_tokens=12)
                assert reply["choices"][0]["message"]["content"] == text


def test_an_adapter_of_another_base_is_refused(tiny_llama: Tiny, tmp_path: Path) -> None:
    other = tiny_llama()
    wrong = adapter(other, tmp_path / "a", 1)
    with (
        pytest.raises(AssertionError, match="no LoRA adapter"),
        serving(f"m={tiny_llama(tokens=4096)}", "--adapter", f"a={wrong}"),
    ):
        pass


def shipped(file: Path) -> str:
    run = create_run("drinks", "name: drinks\n")
    run.ship.mkdir()
    os.link(file, run.ship / "drinks-Q4.gguf") if file.stat().st_dev == run.ship.stat().st_dev else shutil.copy(file, run.ship)
    (run.path / "manifest.json").write_text("{}")
    run.recipe_path.write_text("name: drinks\nmodel: {source: smollm2-135m-instruct}\ndata: {train: [{path: rows.jsonl}]}\n")
    run.set_state("shipped")
    return run.id


def test_a_newer_run_takes_over(home: Path) -> None:
    first = shipped(starter_file())
    with serving("drinks", "--follow", "--context", "512", "--at-once", "2", home=home) as server:
        assert server.chat(model="drinks")[1]["system_fingerprint"] == first
        time.sleep(1.1)  # ids have seconds
        second = shipped(starter_file())
        until(lambda: server.chat(model="drinks", max_tokens=1)[1]["system_fingerprint"] == second, 30)


def test_a_model_for_embeddings_makes_them(tmp_path: Path) -> None:
    path = tmp_path / "embedding.gguf"
    shutil.copy(starter_file(), path)
    rewrite_gguf(path, {"llama.pooling_type": 1})
    with serving(f"m={path}", "--context", "512") as server:
        texts = ["a cat sat", "a cat sat down", "stock prices fell sharply today"]
        status, reply = server.post("/v1/embeddings", {"model": "m", "input": texts})
        assert status == 200
        vectors = np.array([each["embedding"] for each in reply["data"]])
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
        assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]
        found = OpenAI(base_url=f"{server.url}/v1", api_key="x").embeddings.create(model="m", input=texts[0])  # in base64
        assert np.allclose(found.data[0].embedding, vectors[0], atol=1e-6)
    engine = open_engine(Target(path))
    assert isinstance(engine, LlamaEngine) and engine.embed is not None
    assert np.allclose(engine.embed([engine.codec.vocabulary.encode(texts[0])])[0], vectors[0], atol=1e-5)


@pytest.mark.parametrize("name", ["qwen3", "qwen3_5_think"])
def test_thoughts_are_a_field_of_their_own(tiny_llama: Tiny, tmp_path: Path, name: str) -> None:
    family = next(family for family in FAMILIES if family.name == name)
    template = tmp_path / "template.jinja"
    template.write_text(family.template().source)
    with serving(f"m={tiny_llama(tokens=4096)}", "--chat-template", str(template)) as server:
        said = [
            {"role": "user", "content": "Sky?"},
            {"role": "assistant", "content": "Blue.", "reasoning_content": "I remember it."},
        ]
        _, shown = server.post("/apply-template", {"messages": said})
        assert "<think>\nI remember it.\n</think>\n\nBlue." in shown["prompt"]
        _, reply = server.chat("Sky?", max_tokens=6)
        message = reply["choices"][0]["message"]
        if name == "qwen3_5_think":  # its prompt has begun the thought
            assert message["content"] == "" and message["reasoning_content"]
            assert reply["usage"]["completion_tokens_details"]["reasoning_tokens"] > 0
            deltas = [
                e["choices"][0]["delta"]
                for e in server.events("/v1/chat/completions", {"messages": said[:1], "max_tokens": 6})[:-1]
            ]
            assert any(delta.get("reasoning_content") for delta in deltas)
        else:
            assert message["content"] and "reasoning_content" not in message
        assert server.chat("Sky?", chat_template_kwargs={"enable_thinking": False})[0] == 200
        wish = {"type": "json_object"}
        assert server.chat("Sky?", response_format=wish, chat_template_kwargs={"enable_thinking": True})[0] == 400
        assert server.chat("Sky?", response_format=wish)[0] == 200


def test_guesses_change_nothing_that_is_said() -> None:
    text = "Repeat this: the quick brown fox jumps over the lazy dog and the quick brown fox jumps again."
    with serving(f"m={starter_file()}", "--context", "1024") as server:
        plain = server.chat(text, max_tokens=60)[1]["choices"][0]["message"]["content"]
    for more in (["--prompt-lookup"], ["--draft", str(starter_file())]):
        with serving(f"m={starter_file()}", "--context", "1024", *more) as server:
            assert server.chat(text, max_tokens=60)[1]["choices"][0]["message"]["content"] == plain
