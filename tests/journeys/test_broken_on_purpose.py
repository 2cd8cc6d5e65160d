"""Each way in which a model is known to break silently: refused, with the right gate, evidence, and no package."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from kitae.verify.registry import GATES, gates_of

from .breaking import rewrite_gguf
from .conftest import Kitae, workplace

pytestmark = pytest.mark.journey


def refusals(done) -> set[str]:
    value = json.loads(done.out)
    gates = value["error"]["gates"] if "error" in value else value["gates"]
    refusing = [gate for gate in gates if gate["verdict"] == "refuse"]
    assert all(gate["why"] and gate["fix"] for gate in refusing)
    return {gate["id"] for gate in refusing}


def ship_refused(kitae: Kitae, run: Path) -> set[str]:
    done = kitae("ship", run.name, "--json")
    assert done.code == 3, done.err + done.out
    assert not (run / "ship").exists()
    assert (run / "reports" / "report.html").exists()
    assert json.loads((run / "reports" / "report.json").read_text())["verdict"] == "refuse"
    return refusals(done)


def test_a_good_run_ships_and_its_package_is_whole(kitae: Kitae, copied: Path) -> None:
    done = kitae("ship", copied.name, "--json")
    assert done.code == 0, done.err + done.out
    names = {path.name for path in (copied / "ship").iterdir()}
    assert {"model.safetensors", "tiny-F16.gguf", "tiny-Q8_0.gguf", "Modelfile", "README.md", "NOTICE.txt"} <= names
    assert {"report.json", "report.html", "config.json", "tokenizer.json"} <= names
    modelfile = (copied / "ship" / "Modelfile").read_text()
    assert 'PARAMETER stop "<|im_end|>"' in modelfile
    assert "<|im_start|>user" in modelfile
    assert 'SYSTEM """' in modelfile, "which all training rows share"
    deploy = copied / "ship" / "deploy"
    files = {"README.md", "Dockerfile", "kitae.service", "llama-server.sh", "vllm.sh"}
    assert {path.name for path in deploy.iterdir()} == files
    assert "kitae serve tiny-Q8_0.gguf " in (deploy / "README.md").read_text()
    page = (copied / "ship" / "report.html").read_text()
    assert "完全一致" in page and "exact match" in page and "http" not in page.replace("http-equiv", "")
    verified = kitae("verify", copied.name, "--json").json
    assert verified["verdict"] == "ship"
    assert {gate["id"] for gate in verified["gates"]} == set(GATES) - set(gates_of("endpoint"))


def test_what_was_not_measured_is_not_proven(kitae: Kitae, copied: Path) -> None:
    (copied / "work" / "tiny-F16.gguf").unlink()
    (copied / "work" / "tiny-Q8_0.gguf").unlink()
    verified = kitae("verify", copied.name, "--json").json
    assert verified["verdict"] == "incomplete"
    skipped = {gate["id"] for gate in verified["gates"] if gate["verdict"] == "skip" and gate["required"]}
    assert skipped == {name for name in GATES if name.startswith(("gguf.", "quant."))}
    (copied / "reports" / "train.json").unlink()
    done = kitae("ship", copied.name, "--json")
    assert done.code == 3
    assert {gate["id"] for gate in done.json["error"]["gates"]} >= {"chat.mask-boundary", "train.validation"}
    assert not (copied / "ship").exists()


@pytest.mark.parametrize("part", ["data/test.jsonl", "data/train.jsonl"])
def test_rows_changed_after_training(kitae: Kitae, copied: Path, part: str) -> None:
    path = copied / part
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    assert ship_refused(kitae, copied) == {"train.inputs"}


def test_a_recipe_changed_after_training(kitae: Kitae, copied: Path) -> None:
    """What is shipped may be asked for otherwise; what was trained may not."""
    path = copied / "recipe.yaml"
    recipe = yaml.safe_load(path.read_text())
    found = [{**source, "licence": "MIT"} for source in recipe["data"]["train"]]  # as data.licence asks for
    allowed = {"evaluate": recipe["evaluate"] | {"max_new_tokens": 30}, "data": recipe["data"] | {"train": found}}
    path.write_text(yaml.safe_dump(recipe | allowed))
    assert kitae("verify", copied.name, "--json").json["verdict"] == "ship"
    path.write_text(yaml.safe_dump(recipe | {"train": recipe["train"] | {"seed": 99}}))
    assert ship_refused(kitae, copied) == {"train.inputs"}
    manifest = json.loads((copied / "manifest.json").read_text())
    del manifest["ingredients"]["recipe"]  # as earlier versions left it
    (copied / "manifest.json").write_text(json.dumps(manifest))
    done = kitae("verify", copied.name, "--only", "train.inputs", "--json")
    assert [gate["verdict"] for gate in done.json["gates"]] == ["pass"]


def test_base_changed_after_training(kitae: Kitae, tiny_model: Path, tmp_path: Path) -> None:
    """The template that the user edits afterwards is not the run's; the base model's files are."""
    base = tmp_path / "base"
    shutil.copytree(tiny_model, base)
    recipe = workplace(tmp_path / "w", base)
    template = tmp_path / "w" / "own.jinja"
    template.write_text((tiny_model / "chat_template.jinja").read_text().replace("You are a helpful", "You are an odd"))
    run = kitae("train", recipe, "--set", "model.chat_template=own.jinja", "--json").json["run"]
    template.write_text("")
    assert kitae("verify", run, "--json").json["verdict"] == "incomplete"
    tokenizer = json.loads((base / "tokenizer_config.json").read_text())
    (base / "tokenizer_config.json").write_text(json.dumps(tokenizer | {"model_max_length": 99}))
    assert ship_refused(kitae, kitae.home / "runs" / run) == {"train.inputs"}


def test_merged_folder_with_another_template(kitae: Kitae, copied: Path) -> None:
    template = copied / "work" / "merged" / "chat_template.jinja"
    template.write_text(template.read_text().replace("<|im_start|>", "<|im_start|> "))
    assert ship_refused(kitae, copied) == {"merge.equivalent"}
    assert not (copied / "work" / "merged").exists()


def test_merged_folder_with_another_end(kitae: Kitae, copied: Path) -> None:
    config = copied / "work" / "merged" / "generation_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"eos_token_id": 0}))
    assert ship_refused(kitae, copied) == {"merge.equivalent"}


@pytest.mark.parametrize("name", ["model.norm.weight", "model.layers.0.self_attn.q_proj.weight"])
def test_one_merged_tensor_altered(kitae: Kitae, copied: Path, name: str) -> None:
    path = copied / "work" / "merged" / "model.safetensors"
    tensors = load_file(path)
    tensors[name] = tensors[name] * 1.5
    save_file(tensors, path, metadata={"format": "pt"})
    assert "merge.changed" in ship_refused(kitae, copied)


def test_adapter_zeroed(kitae: Kitae, copied: Path) -> None:
    path = copied / "adapter" / "adapter_model.safetensors"
    tensors = {k: torch.zeros_like(v) if "lora_B" in k else v for k, v in load_file(path).items()}
    save_file(tensors, path, metadata={"format": "pt"})
    assert "train.adapter-moved" in ship_refused(kitae, copied)


def test_base_posing_as_merged(kitae: Kitae, copied: Path, tiny_model: Path) -> None:
    shutil.rmtree(copied / "work" / "merged")
    shutil.copytree(tiny_model, copied / "work" / "merged")
    assert "merge.changed" in ship_refused(kitae, copied)


def test_adapter_posing_as_merged(kitae: Kitae, copied: Path) -> None:
    shutil.rmtree(copied / "work" / "merged")
    shutil.copytree(copied / "adapter", copied / "work" / "merged")
    assert ship_refused(kitae, copied) == {"merge.complete"}
    fake = copied.parent / "fake"
    shutil.copytree(copied / "adapter", fake)
    done = kitae("verify", fake, "--against", copied.name, "--json")
    assert done.code == 3
    assert "merge.complete" in refusals(done)


@pytest.mark.parametrize(
    ("field", "value", "gate"),
    [
        ("tokenizer.ggml.pre", "gpt-2", "gguf.tokens"),
        ("tokenizer.chat_template", "{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}", "gguf.template"),
        ("tokenizer.ggml.eos_token_id", 0, "gguf.stops"),
    ],
)
def test_gguf_with_other_metadata(kitae: Kitae, copied: Path, field: str, value: object, gate: str) -> None:
    path = copied / "work" / "tiny-F16.gguf"
    rewrite_gguf(path, {field: value})
    if gate == "gguf.template":
        done = kitae("verify", path, "--against", copied / "work" / "merged", "--json")
        assert done.code == 3, done.out
        assert gate in refusals(done)
    assert gate in ship_refused(kitae, copied)
    assert not path.exists()  # what was refused is not used again


def test_gguf_with_other_weights(kitae: Kitae, copied: Path) -> None:
    path = copied / "work" / "tiny-F16.gguf"
    rewrite_gguf(path, {}, scale={"blk.0.ffn_down.weight": 1.7})
    assert "gguf.equivalent" in ship_refused(kitae, copied)


def test_quantised_file_of_another_model(kitae: Kitae, copied: Path) -> None:
    path = copied / "work" / "tiny-Q8_0.gguf"
    shutil.copyfile(copied / "work" / "tiny-F16.gguf", path)
    rewrite_gguf(path, {"general.file_type": 7}, scale={"blk.1.attn_v.weight": -1.0})
    assert {"quant.types", "quant.divergence"} & ship_refused(kitae, copied)


def test_a_type_that_the_model_cannot_have_is_told(kitae: Kitae, copied: Path) -> None:
    """The tiny model's rows don't divide by 256, so a file named Q4_K_M holds no Q4_K at all. It works as well as any."""
    done = kitae("ship", copied.name, "--quant", "Q4_K_M", "--json")
    assert done.code == 0, done.err + done.out
    gate = next(gate for gate in done.json["gates"] if gate["id"] == "quant.types")
    assert (gate["verdict"], gate["case"]) == ("warn", "smaller-blocks") and "Q5_0" in gate["why"]


def test_a_file_that_bears_the_name_of_another_type(kitae: Kitae, copied: Path) -> None:
    path = copied / "work" / "tiny-Q8_0.gguf"
    rewrite_gguf(path, {"general.file_type": 10})
    done = kitae("verify", path, "--json")
    assert done.code == 3 and "quant.types" in refusals(done)


def test_rows_longer_than_the_limit_are_not_cut_in_silence(kitae: Kitae, tiny_model: Path, tmp_path: Path) -> None:
    recipe = workplace(tmp_path / "w", tiny_model)
    done = kitae("train", recipe, "--set", "model.max_length=96", "--json")
    assert done.code == 3
    assert "chat.terminator-labelled" in refusals(done)
    assert kitae("train", recipe, "--set", "model.max_length=124", "--set", "data.too_long=drop", "--json").code == 0


def test_template_without_terminator(kitae: Kitae, tiny_model: Path, tmp_path: Path) -> None:
    recipe = workplace(tmp_path / "w", tiny_model)
    (tmp_path / "w" / "plain.jinja").write_text(
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
    )
    done = kitae("train", recipe, "--set", "model.chat_template=plain.jinja", "--json")
    assert done.code == 3
    assert "chat.terminator-labelled" in refusals(done)


@pytest.mark.slow(25)
def test_base_model_whose_stop_row_is_frozen(kitae: Kitae, tiny_model: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny_model, base)
    tensors = load_file(base / "model.safetensors")
    tensors["model.embed_tokens.weight"][2] = 0.0
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    recipe = workplace(tmp_path / "w", base)
    done = kitae("train", recipe, "--set", "verify.stop_probability=6e-4", "--json")
    assert done.code == 3
    assert refusals(done) == {"train.stop-token-trainable"}
    # With its row trainable too, or every weight, the same model may learn it.
    assert 'train.lora.tokens: ["<|im_end|>"]' in done.json["error"]["why"]
    done = kitae(
        "train", recipe, "--set", "verify.stop_probability=6e-4", "--set", 'train.lora.tokens=["<|im_end|>"]', "--json"
    )
    assert done.code == 0, done.err + done.out
    shipped = kitae("ship", done.json["run"], "--json")
    assert shipped.code == 0, shipped.err + shipped.out
    done = kitae("train", recipe, "--set", "verify.stop_probability=6e-4", "--set", "train.method=full",
                 "--set", "train.lora=null", "--set", "train.learning_rate=0.003", "--json")  # fmt: skip
    assert done.code == 0, done.err + done.out


def test_validation_rows_copied_into_training(kitae: Kitae, tiny_model: Path, tmp_path: Path) -> None:
    recipe = workplace(tmp_path / "w", tiny_model)
    copied = (tmp_path / "w" / "validation.jsonl").read_text()
    with (tmp_path / "w" / "train.jsonl").open("a") as file:
        file.write(copied)
    done = kitae("train", recipe, "--json")
    assert done.code == 3
    assert refusals(done) == {"train.validation", "data.leak"}


def test_test_rows_copied_into_validation(kitae: Kitae, tiny_model: Path, tmp_path: Path) -> None:
    recipe = workplace(tmp_path / "w", tiny_model)
    with (tmp_path / "w" / "validation.jsonl").open("a") as file:
        file.write((tmp_path / "w" / "test.jsonl").read_text())
    done = kitae("train", recipe, "--json")
    assert done.code == 3
    assert refusals(done) == {"data.leak"}


def test_validation_rows_without_an_answer_do_not_count(kitae: Kitae, tiny_model: Path, tmp_path: Path) -> None:
    recipe = workplace(tmp_path / "w", tiny_model)
    row = {"messages": [{"role": "user", "content": "a question"}]}
    (tmp_path / "w" / "validation.jsonl").write_text("".join(json.dumps(row | {"n": n}) + "\n" for n in range(20)))
    done = kitae("train", recipe, "--json")
    assert done.code == 3
    assert refusals(done) == {"train.validation"}


@pytest.mark.slow(15)
@pytest.mark.parametrize("seed", range(1, 3))
def test_clean_runs_are_not_refused(kitae: Kitae, tiny_model: Path, tmp_path: Path, seed: int) -> None:
    recipe = workplace(tmp_path / "w", tiny_model)
    done = kitae("train", recipe, "--set", f"train.seed={seed}", "--json")
    assert done.code == 0, done.err + done.out
    shipped = kitae("ship", done.json["run"], "--json")
    assert shipped.code == 0, shipped.err + shipped.out
