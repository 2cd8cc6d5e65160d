"""Every method of training, by its recipe in examples/methods: from rows to a package, on models that are small enough for
seconds, and shaped like those that people adapt."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from kitae.models import open_tokenizer
from kitae.runs import Run

from ..conftest import ROOT, STARTER
from .conftest import Kitae, once, workplace

pytestmark = pytest.mark.journey

EXAMPLES = ROOT / "examples" / "methods"
RECIPES = sorted(path.stem for path in EXAMPLES.glob("*.yaml"))
SOFT = ("soft-prompt", "prefix")
ALL_SHAPES = ("dora", "qlora", "full", *SOFT, "dpo", "distill")
CASES = [*((name, "llama") for name in RECIPES), *((name, shape) for name in ALL_SHAPES for shape in ("qwen3", "gemma3"))]
# The model knows nothing, so it must learn fast, and whether it stops and is right is of no interest here.
SMALL = (
    "train.learning_rate=0.01",
    "train.precision=fp32",
    "evaluate={prompts: 8, rows: 12, max_new_tokens: 8}",
    "verify={stop_rate: 0.0, loop_rate: 1.0, stop_probability: 1.0e-9, equivalent_kld: 1.0e-3}",
)
MERGED = ("merge.complete", "merge.changed", "merge.equivalent")
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


@pytest.fixture(scope="session")
def shaped(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Llama has the starter's own shape; the others have its tokenizer."""
    tokenizer = open_tokenizer(tiny_model)
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


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("methods")
    made = [sys.executable, str(EXAMPLES / "prepare.py"), "--out", str(folder), "--train", "40", "--held-out", "16"]
    subprocess.run(made, check=True)
    for name in RECIPES:
        (folder / f"{name}.yaml").write_text((EXAMPLES / f"{name}.yaml").read_text())
    return folder


def train(kitae: Kitae, recipe: Path, model: Path, *more: str) -> str:
    settings = [part for setting in (*SMALL, f"model.source={model}", *more) for part in ("--set", setting)]
    done = kitae("train", recipe, *settings, "--json")
    assert done.code == 0, done.err + done.out
    return str(done.json["run"])


def settings_of(name: str, shape: str, model: Path) -> tuple[str, ...]:
    teachers = {
        "distill": (f"train.distill.teacher={model}",),
        "distill-answers": (
            f"train.distill.teacher={STARTER}",
            "train.distill.shots=1",
            "train.distill.max_new_tokens=80",  # of a model of 135 million parameters, so it is asked little
            "data.train=[{path: train.jsonl, licence: CC0-1.0, limit: 16}]",
            "data.validation=[{path: validation.jsonl, licence: CC0-1.0, limit: 12}]",
        ),
    }
    # The converter wants Gemma's own kind of tokenizer; what it makes of the other methods' merged weights is the same.
    plain = name in SOFT or shape != "llama"
    return (*teachers.get(name, ()), f"ship.gguf={'[]' if plain else '[F16]'}")


@pytest.mark.parametrize(
    ("name", "shape"), [pytest.param(*case, marks=pytest.mark.slow(30 if "answers" in case[0] else 15)) for case in CASES]
)
def test_trained_proven_and_shipped(kitae: Kitae, rows: Path, shaped: dict[str, Path], name: str, shape: str) -> None:
    run = train(kitae, rows / f"{name}.yaml", shaped[shape], *settings_of(name, shape, shaped[shape]))
    shipped = kitae("ship", run, "--json")
    assert shipped.code == 0, shipped.err + shipped.out
    gates = {gate["id"]: gate["verdict"] for gate in shipped.json["gates"]}
    assert {gates[gate] for gate in MERGED} == ({"skip"} if name in SOFT else {"pass"})
    assert gates["train.adapter-moved"] == ("skip" if name == "full" else "pass")
    if name in ("soft-prompt", "dpo"):
        verified = kitae("verify", run, "--json")
        assert verified.code == 0, verified.out
        assert verified.json["verdict"] == "ship"


@pytest.mark.parametrize("name", SOFT)
def test_a_soft_prompt_travels_with_its_base(kitae: Kitae, rows: Path, tiny_model: Path, tmp_path: Path, name: str) -> None:
    run = train(kitae, rows / f"{name}.yaml", tiny_model)
    for wrong in (("merge", run), ("export", run, "--gguf", "F16"), ("ship", run, "--quant", "Q8_0")):
        done = kitae(*wrong)
        assert done.code == 2
        assert "soft prompt" in done.err
    package = tmp_path / "package"
    assert kitae("ship", run, "--out", package).code == 0
    assert sorted(path.name for path in (package / "deploy").iterdir()) == ["README.md", "kitae.service"]
    assert "kitae serve . " in (package / "deploy" / "README.md").read_text(), "no other server knows soft prompts"
    package.rename(tmp_path / "elsewhere")

    def said(target: object) -> str:
        done = kitae("generate", target, "lunch with Mei on friday", "--max-tokens", "6", "--json")
        assert done.code == 0, done.err
        return str(done.json["text"])

    assert said(tmp_path / "elsewhere") == said(run)
    # As a stranger would open it.
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = AutoModelForCausalLM.from_pretrained(tmp_path / "elsewhere" / "base")
    PeftModel.from_pretrained(base, tmp_path / "elsewhere")
    assert AutoTokenizer.from_pretrained(tmp_path / "elsewhere").chat_template


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


@pytest.fixture(scope="session")
def two_runs(session_kitae: Kitae, rows: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    def make(_: Path) -> list[str]:
        return [
            train(session_kitae, rows / f"{name}.yaml", tiny_model, "ship.gguf=[F16]", f"train.seed={seed}")
            for name, seed in (("lora", 0), ("full", 1))
        ]

    first, second = once(tmp_path_factory, "two-runs", make)
    return first, second


@pytest.mark.parametrize(
    "how",
    [
        ("--how", "linear", "--weight", "2", "--weight", "1"),
        ("--how", "slerp"),
        ("--how", "ties", "--density", "0.8"),
        ("--how", "dare", "--density", "0.9"),
    ],
)
def test_two_runs_become_one(session_kitae: Kitae, two_runs: tuple[str, str], how: tuple[str, ...]) -> None:
    """An adapter and whole weights."""
    kitae = session_kitae
    done = kitae("blend", *two_runs, *how, "--json")
    assert done.code == 0, done.err + done.out
    run = done.json["run"]
    if how[1] == "linear":
        again = kitae("blend", *two_runs, *how, "--json").json["path"]
        ours, theirs = (load_file(Path(path) / "model" / "model.safetensors") for path in (done.json["path"], again))
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    if how[1] in ("linear", "ties"):
        shipped = kitae("ship", run, "--json")
        assert shipped.code == 0, shipped.err + shipped.out
        assert "blending" in (Path(shipped.json["package"]) / "README.md").read_text()


def test_a_blend_that_is_no_better_than_its_base_is_refused(
    session_kitae: Kitae, tiny_model: Path, two_runs: tuple[str, str]
) -> None:
    done = session_kitae("blend", two_runs[0], tiny_model, "--weight", "-0", "--weight", "1", "--json")
    assert done.code == 3, done.err + done.out
    assert {gate["id"] for gate in done.json["error"]["gates"]} == {"train.overfit"}


def test_a_blend_is_not_judged_by_rows_that_a_part_of_it_knows(
    session_kitae: Kitae, two_runs: tuple[str, str], rows: Path, tiny_model: Path
) -> None:
    data = "data={train: [{path: train.jsonl}, {path: validation.jsonl, limit: 4}], validation: [{path: test.jsonl}]}"
    knowing = train(session_kitae, rows / "lora.yaml", tiny_model, data)
    done = session_kitae("blend", two_runs[0], knowing)
    assert done.code == 2
    assert "trained on" in done.err


def test_runs_beside_each_other(
    session_kitae: Kitae, two_runs: tuple[str, str], rows: Path, tiny_model: Path, tmp_path: Path
) -> None:
    done = session_kitae("compare", *two_runs, "--out", tmp_path / "page.html", "--json")
    assert done.code == 0, done.err
    value = done.json
    assert value["settings"]["train.method"] == ["lora", "full"]
    assert value["settings"]["train.seed"] == [0, 1]
    assert not any(key.startswith(("data", "verify")) for key in value["settings"])
    apart = value["runs"][1]["difference"]["language"]
    bits = [run["suites"]["language"]["bits_per_byte"] for run in value["runs"]]
    assert apart["plus_minus"] > 0
    assert abs(apart["mean"] - (bits[1] - bits[0])) < 0.2 * abs(bits[1] - bits[0])  # a mean of rows, not of bytes
    beside, whole = value["runs"]
    assert beside["learned"] < whole["learned"] == whole["parameters"]
    page = (tmp_path / "page.html").read_text()
    assert page.count("<polyline") == 2 * 2 * 2  # losses of training and validation, runs, languages
    for text in (*two_runs, "train.method"):
        assert text in page
    shown = session_kitae("compare", *two_runs)
    assert "train.method" in shown.out
    for arguments, word in (((two_runs[0],), "two"), ((two_runs[0], two_runs[0]), "two"), ((two_runs[0], "none"), "none")):
        done = session_kitae("compare", *arguments)
        assert (done.code, word in done.err) == (2, True), done.err
    other = train(
        session_kitae, rows / "lora.yaml", tiny_model, "data.train=[{path: train.jsonl}, {path: test.jsonl}]", "data.test=[]"
    )
    done = session_kitae("compare", two_runs[0], other)
    assert done.code == 2
    assert "trained on" in done.err


def test_what_cannot_be_blended(
    session_kitae: Kitae, shaped: dict[str, Path], two_runs: tuple[str, str], tiny_llama: Callable[..., Path], tmp_path: Path
) -> None:
    kitae, narrow = session_kitae, tiny_llama(hidden_size=32)
    cases = {
        (two_runs[0],): "2",
        (two_runs[0], str(tmp_path / "none")): "none",
        (two_runs[0], str(shaped["qwen3"])): "≠",
        (two_runs[0], str(narrow)): "≠",
        (str(shaped["llama"]), str(shaped["llama"])): "--recipe",
        (*two_runs, "--how", "stir"): "linear",
        (*two_runs, "--how", "ties", "--density", "2"): "density",
        (*two_runs, "--how", "slerp", "--weight", "1"): "weight",
        (*two_runs, str(shaped["llama"]), "--how", "slerp"): "slerp",
        (two_runs[0], two_runs[0]): "twice",
    }
    for arguments, word in cases.items():
        done = kitae("blend", *arguments)
        assert done.code == 2, (arguments, done.err, done.out)
        assert word in done.err and "--set" not in done.err, (arguments, done.err)


def test_what_does_not_go_together_is_told_before_anything_starts(
    kitae: Kitae, rows: Path, shaped: dict[str, Path], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    text = tmp_path / "text.txt"
    text.write_text("Words and more words, as they come. " * 400)
    trained = kitae("tokenizer", "train", text, "--out", other, "--vocab-size", "270")
    assert trained.code == 0, trained.err
    model = shaped["llama"]
    cases: list[tuple[str, tuple[str, ...], str]] = [
        ("lora", ("train.method=dpo", "train.lora=null"), "chosen"),
        ("lora", ("train.method=qlora", "model.source=some.gguf"), "GGUF"),
        ("lora", ("train.lora={r: 0}",), "train.lora.r"),
        ("lora", ("data.validation=[]",), "data.validation"),
        ("soft-prompt", ("ship.gguf=[F16]",), "soft prompt"),
        ("continue", (f"train={{method: distill, distill: {{teacher: {model}, learn: answers}}}}",), "plain text"),
        ("lora", (f"train={{method: distill, distill: {{teacher: {tmp_path}/none}}}}",), "none"),
        ("distill", (f"train.distill.teacher={STARTER}", f"model={{source: new, new: {{arch: llama, tokenizer: {other}}}}}",
                     "train.distill.whole=true"), "tokens"),
        ("lora", ("train.report_to=[wandb]",), "pip install wandb"),
        ("lora", ("train.lora={targets: [nope]}",), "q_proj"),
        ("lora", ("train.lora={tokens: [nope]}",), "<|im_end|>"),
        ("lora", ("model.stop_tokens=[nope]",), "<|im_end|>"),
    ]  # fmt: skip
    for name, settings, word in cases:
        sets = [part for setting in (f"model.source={model}", *settings) for part in ("--set", setting)]
        done = kitae("train", rows / f"{name}.yaml", *sets)
        assert done.code == 2, (settings, done.err, done.out)
        assert word in done.err, (settings, done.err)
    assert not (kitae.home / "runs").exists()


def test_a_soft_prompt_must_leave_room(kitae: Kitae, rows: Path, tiny_model: Path) -> None:
    settings = [part for s in (f"model.source={tiny_model}", "train.soft_prompt.tokens=480") for part in ("--set", s)]
    done = kitae("train", rows / "soft-prompt.yaml", *settings)
    assert done.code == 2
    assert "512" in done.err


def test_rows_lie_within_the_positions_of_the_model(
    kitae: Kitae, rows: Path, tiny_llama: Callable[..., Path], starter: Path, tmp_path: Path
) -> None:
    learned = tmp_path / "gpt2"  # its positions are weights: past them there is nothing to read
    tokenizer = open_tokenizer(starter)
    GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), n_embd=64, n_layer=1, n_head=4, n_positions=64)).save_pretrained(
        learned
    )
    tokenizer.save_pretrained(learned)
    for short in (tiny_llama(max_position_embeddings=64), learned):
        done = kitae("train", rows / "lora.yaml", "--set", f"model.source={short}")
        assert done.code == 2, done.err
        assert "64 positions" in done.err


def test_a_target_that_the_base_has_reached_takes_one_validation(kitae: Kitae, rows: Path, tiny_model: Path) -> None:
    settings = (*SMALL, "train.early_stopping={perplexity: 1000000}", f"model.source={tiny_model}")
    done = kitae("train", rows / "lora.yaml", *(part for setting in settings for part in ("--set", setting)))
    assert done.code == 0, done.err
    (run,) = (kitae.home / "runs").iterdir()
    assert next(Run(run).events("stopped-early"))["why"] == "perplexity"
    assert next(Run(run).events("fitted"))["best_step"] > 0


def test_a_silent_teacher_is_told_of(kitae: Kitae, rows: Path, tiny_model: Path) -> None:
    model = ("--set", f"model.source={tiny_model}", "--set", f"train.distill.teacher={tiny_model}")
    done = kitae("train", rows / "distill-answers.yaml", *model, "--set", "train.distill.max_new_tokens=2")
    assert done.code == 2
    assert "max_new_tokens" in done.err


def test_more_examples_than_rows_are_told_of(kitae: Kitae, rows: Path, tiny_model: Path) -> None:
    model = ("--set", f"model.source={tiny_model}", "--set", f"train.distill.teacher={tiny_model}")
    done = kitae("train", rows / "distill-answers.yaml", *model, "--set", "train.distill.shots=64")
    assert done.code == 2
    assert "train.distill.shots" in done.err


def test_trackers_are_told(kitae: Kitae, rows: Path, tiny_model: Path) -> None:
    run = train(kitae, rows / "lora.yaml", tiny_model, "train.report_to=[tensorboard]")
    (file,) = (kitae.home / "runs" / run / "tensorboard").glob("events*")
    assert b"train/loss" in file.read_bytes()
