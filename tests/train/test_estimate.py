"""What `recipe check` promises before anything is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from safetensors.torch import save_file
from tests.conftest import Tiny
from transformers import GPT2Config, GPT2LMHeadModel

import kitae.core.hardware
from kitae.core.errors import InputError
from kitae.generate.engines.torch_engine import TorchEngine
from kitae.models import open_codec, open_tokenizer, peek
from kitae.recipe import load_recipe
from kitae.ship.importance_matrix import _TOKENS as CALIBRATION
from kitae.train import minutes
from kitae.train.methods import compute_dtype
from kitae.verify import exam
from kitae.workflows import check_recipe
from kitae.workflows.rows import gather_rows
from kitae.workflows.tokenizer import train_tokenizer

pytestmark = pytest.mark.slow(6)

RECIPE = """\
name: small
model: {source: new, new: {arch: newllm, tokenizer: tokenizer, hidden_size: 16}}
data: {train: [{path: train.jsonl}], validation: [{path: held_out.jsonl}]}
train: {method: full, epochs: 1}
"""


def test_a_model_that_multiplies_little_takes_time_too(tmp_path: Path) -> None:
    for name, rows in (("train", 400), ("held_out", 20)):
        lines = [json.dumps({"text": f"{name} {number} " + "and so on " * 100}) for number in range(rows)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    train_tokenizer([tmp_path / "train.jsonl"], tmp_path / "tokenizer", size=262)
    found = check_recipe(load_recipe(tmp_path / "recipe.yaml"))
    assert found["parameters"] < 20_000
    assert 120_000 < found["tokens"] < 130_000
    assert found["minutes"] >= 0.2


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """Of the starter model, with rows of 2,000 characters."""
    for name in ("train", "held_out"):
        chats = [
            [{"role": "user", "content": f"{name} {i}"}, {"role": "assistant", "content": "word " * 400}] for i in range(40)
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats))
    path = tmp_path / "recipe.yaml"
    path.write_text("name: large\ndata: {train: [{path: train.jsonl}], validation: [{path: held_out.jsonl}]}\n")
    return path


@pytest.mark.parametrize(
    ("licence", "use", "verdict"),
    [("CC0-1.0", "commercial", "pass"), ("unknown", "private", "warn"), ("CC-BY-NC-4.0", "commercial", "refuse")],
)
def test_what_licences_will_say(recipe: Path, licence: str, use: str, verdict: str) -> None:
    said = load_recipe(recipe, [f"data.train=[{{path: train.jsonl, licence: {licence}}}]", f"ship.use={use}"])
    assert check_recipe(said)["licence"]["verdict"] == verdict


BF16 = "train.precision=bf16"  # whatever this machine would choose
FULL = ("train.method=full", "train.batch_tokens=8192", "train.micro_batch_tokens=8192")


@pytest.mark.parametrize(
    "changes",
    [
        ("train.micro_batch_tokens=1024",),
        FULL,
        ("train.method=dora", "train.batch_tokens=8192", "train.micro_batch_tokens=8192"),
    ],
)
def test_what_cannot_fit_is_refused_with_settings_that_do(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, changes: tuple[str, ...]
) -> None:
    def free(megabytes: float) -> None:
        monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=megabytes * 1e6))

    free(1e6)
    needed = check_recipe(load_recipe(recipe, changes))["memory_mb"]
    free(needed + 1)
    check_recipe(load_recipe(recipe, changes))
    free(needed * 0.95)
    with pytest.raises(InputError) as caught:
        check_recipe(load_recipe(recipe, changes))
    assert caught.value.kind == "too-large"
    named = [part.split(" ")[0] for part in caught.value.why.split("; ")]
    assert named
    assert ("train.method=lora" in named) == (changes == FULL)
    for setting in named:
        check_recipe(load_recipe(recipe, [*changes, setting]))
    free(100)
    with pytest.raises(InputError) as caught:
        check_recipe(load_recipe(recipe, changes))
    assert (caught.value.kind, caught.value.why) == ("too-large-anyway", "")


def test_micro_batches_that_are_left_open_shrink_until_they_fit(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = check_recipe(load_recipe(recipe, ["train.method=dora"]))
    assert whole["micro_batch_tokens"] == 1024
    assert check_recipe(load_recipe(recipe, [BF16]))["micro_batch_tokens"] == 2048
    assert check_recipe(load_recipe(recipe, ["train.precision=fp32"]))["micro_batch_tokens"] == 1024
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=whole["memory_mb"] * 0.9e6))
    smaller = check_recipe(load_recipe(recipe, ["train.method=dora"]))
    assert smaller["micro_batch_tokens"] in (256, 512)
    assert smaller["memory_mb"] <= whole["memory_mb"] * 0.9
    with pytest.raises(InputError):
        check_recipe(load_recipe(recipe, ["train.method=dora", "train.micro_batch_tokens=1024"]))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1e8))
    with pytest.raises(InputError):
        check_recipe(load_recipe(recipe, ["train.method=dora"]))


def test_every_method_holds_more_than_lora(recipe: Path) -> None:
    lora, dora, full = (
        check_recipe(load_recipe(recipe, [BF16, f"train.method={m}"]))["memory_mb"] for m in ("lora", "dora", "full")
    )
    assert lora < dora < full
    assert check_recipe(load_recipe(recipe, [BF16, "train.lora={dropout: 0.1}"]))["memory_mb"] == dora


def test_a_model_whose_file_has_other_names(recipe: Path, starter: Path, tmp_path: Path) -> None:
    model = GPT2LMHeadModel(GPT2Config(vocab_size=49152, n_embd=64, n_layer=2, n_head=4))
    model.save_pretrained(tmp_path / "gpt2")
    open_tokenizer(starter).save_pretrained(tmp_path / "gpt2")
    assert "hidden_size" not in json.loads((tmp_path / "gpt2" / "config.json").read_text())
    size = peek(str(tmp_path / "gpt2"))
    assert (size.hidden, size.layers, size.queries, size.feed_forward) == (64, 2, 64, 256)
    assert check_recipe(load_recipe(recipe, [f"model.source={tmp_path / 'gpt2'}"]))["parameters"] == model.num_parameters()


@pytest.mark.parametrize("content", ['{"model_type": "unheard-of"}', "{}"])
def test_a_model_whose_file_says_too_little(recipe: Path, starter: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "model").mkdir()
    save_file({"x": torch.zeros(1)}, tmp_path / "model" / "model.safetensors")
    (tmp_path / "model" / "config.json").write_text(content)
    with pytest.raises(InputError) as caught:
        check_recipe(load_recipe(recipe, [f"model.source={tmp_path / 'model'}"]))
    assert caught.value.kind == "model-unreadable"


def test_memory_is_looked_for_where_training_runs(recipe: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2e9))
    monkeypatch.setattr(kitae.core.hardware, "_GPUS", (str(tmp_path),))
    monkeypatch.setattr(minutes, "_timed", lambda *_: 1e-12)  # there is none to be timed
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (80e9, 80e9))
    check_recipe(load_recipe(recipe))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (1e6, 80e9))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=80e9))
    with pytest.raises(InputError):
        check_recipe(load_recipe(recipe))
    # What is opened has to fit into the machine, what trains into the GPU.
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (80e9, 80e9))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1e9))
    with pytest.raises(InputError) as caught:
        check_recipe(load_recipe(recipe))
    assert "1,238 MB" in caught.value.message


def test_fp32_holds_twice_as_much_of_all_but_what_is_learned(recipe: Path) -> None:
    half, exact, auto = (
        check_recipe(load_recipe(recipe, [f"train.precision={p}", "train.micro_batch_tokens=2048"]))["memory_mb"]
        for p in ("bf16", "fp32", "auto")
    )
    assert 1.4 * half < exact < 2 * half
    assert auto == (half if compute_dtype("auto") == torch.bfloat16 else exact)


def test_one_process_asks_the_base_for_all(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = (BF16, "train.micro_batch_tokens=64")
    needed = check_recipe(load_recipe(recipe, small))["memory_mb"]
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=needed * 1.7e6))
    check_recipe(load_recipe(recipe, small))


def test_processes_that_share_weights_hold_less_each(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    apart, shared = (
        check_recipe(load_recipe(recipe, (*FULL, BF16, f"train.shard={how}")))["memory_mb"] for how in ("false", "true")
    )
    size = peek("smollm2-135m-instruct")
    quarter = size.parameters * 18 / 4 / 1e6  # of fp32 weights, bf16 copies, gradients and moments
    sent = size.vocabulary * size.hidden * 14 / 1e6
    assert apart - shared == pytest.approx(3 * quarter - sent, rel=0.01)
    needed = apart
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=(needed + 1) * 1e6))
    check_recipe(load_recipe(recipe, (*FULL, BF16)))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")  # which all want as much
    with pytest.raises(InputError):
        check_recipe(load_recipe(recipe, (*FULL, BF16)))


def test_checkpoints_of_shared_weights_are_whole(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = (*FULL[:1], "train.batch_tokens=64", "train.micro_batch_tokens=64", "train.shard=true")
    parameters = peek("smollm2-135m-instruct").parameters
    free = SimpleNamespace(available=0.0)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    monkeypatch.setenv("WORLD_SIZE", "64")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    free.available = 2 * (560e6 + parameters * 8 * 1.1)
    check_recipe(load_recipe(recipe, small))
    free.available = 2 * (560e6 + parameters * 8 * 0.99)
    with pytest.raises(InputError):
        check_recipe(load_recipe(recipe, small))


def test_a_template_that_is_no_template_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "bad.jinja").write_text("{{ messages }}\n{% if %}\n")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("name: a\nmodel: {chat_template: bad.jinja}\ndata: {train: [{path: nowhere.jsonl}]}\n")
    with pytest.raises(InputError) as caught:
        check_recipe(load_recipe(recipe))
    assert (caught.value.kind, caught.value.where) == ("template-syntax", f"{tmp_path / 'bad.jinja'}:2")


@pytest.mark.parametrize(
    ("setting", "kind"),
    [
        ("train.lora={targets: [nonexistent]}", "target-unknown"),
        ("train.lora={tokens: ['<|nonexistent|>']}", "token-unknown"),
        ("model.stop_tokens=['<|nonexistent|>']", "token-unknown"),
    ],
)
def test_parts_of_the_model_that_are_none_are_named(tiny_llama: Tiny, tmp_path: Path, setting: str, kind: str) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"name: a\nmodel: {{source: '{tiny_llama()}'}}\ndata: {{train: [{{path: nowhere.jsonl}}]}}\n")
    with pytest.raises(InputError) as caught:
        check_recipe(load_recipe(recipe, [setting]))
    assert caught.value.kind == kind and "nonexistent" in caught.value.why


@pytest.mark.parametrize("text", ["The lamp by the river is lit at seven. ", "川のそばの明かりは七時にともります。"])
def test_tokens_are_counted_by_the_models_own_tokenizer(tiny_llama: Tiny, tmp_path: Path, text: str) -> None:
    model = tiny_llama()
    for name, count in (("train", 60), ("held_out", 12)):
        rows = [{"prompt": f"{name} {i}: {text * (1 + i % 5)}", "completion": text * (1 + i % 7)} for i in range(count)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = "data: {train: [{path: train.jsonl}], validation: [{path: held_out.jsonl}]}"
    (tmp_path / "recipe.yaml").write_text(f"name: a\nmodel: {{source: {model}}}\n{data}\ntrain: {{epochs: 1}}\n")
    recipe = load_recipe(tmp_path / "recipe.yaml")
    found = check_recipe(recipe)
    codec = open_codec(model)
    read = sum(len(encoded.ids) for row in gather_rows(recipe).train for encoded in codec.encode(row))
    assert found["tokens"] == pytest.approx(read, rel=0.03)
    assert "named SmolLM" in found["system"]  # which goes into every row that has no system message


def test_a_base_without_a_template_is_told_at_once(tiny_llama: Tiny, recipe: Path) -> None:
    model = tiny_llama(tokens=4096)
    (model / "chat_template.jinja").unlink()
    with pytest.raises(InputError) as caught:
        check_recipe(load_recipe(recipe, [f"model.source={model}"]))
    assert caught.value.kind == "template-missing"


def test_minutes_are_of_all_that_follows(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """benchmarks/estimate.py compares them with what a run then takes."""
    monkeypatch.setattr(minutes, "_timed", lambda *_: 1e-11)  # seconds for each weight and row

    def told(*changes: str) -> dict[str, float]:
        found = check_recipe(load_recipe(recipe, changes))
        return {name: found[name] for name in found if name.startswith("minutes")}

    usual = told()
    assert usual["minutes"] == pytest.approx(sum(value for name, value in usual.items() if name != "minutes"), abs=0.2)
    assert min(usual.values()) > 0
    assert told("evaluate={prompts: 64, max_new_tokens: 16}")["minutes_proof"] < usual["minutes_proof"]
    assert told("ship={gguf: [F16, Q8_0, Q6_K, Q4_K_M]}")["minutes_proof"] > usual["minutes_proof"] * 1.3
    assert told("train.epochs=9")["minutes_training"] > usual["minutes_training"] * 2


def test_what_is_expected_of_an_exam_is_what_it_asks() -> None:
    """`recipe check` doesn't wait for the libraries of an exam, so it has these numbers of its own."""
    assert (minutes._ALL_COMPARED, minutes._LONG) == (exam._TOKENS, exam._LONG)
    assert (minutes._SAMPLED, minutes._FEW) == (exam._SAMPLED, exam._FEW)
    assert (CALIBRATION, TorchEngine.width) == (minutes._CALIBRATION, minutes._TOGETHER)
