"""Bad input: the right exit code, one screen of what, where, why and what to do, no traceback, nothing lost."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from kitae.runs import Run

from .conftest import Done, Kitae, workplace

pytestmark = pytest.mark.journey


def explained(done: Done, code: int, *words: str) -> None:
    assert done.code == code, done.err + done.out
    assert len(done.err.splitlines()) <= 30
    assert "→" in done.err
    for word in words:
        assert word in done.err, done.err


def test_missing_files(kitae: Kitae, tiny_model: Path, tmp_path: Path) -> None:
    explained(kitae("train", tmp_path / "none.yaml"), 2, "none.yaml")
    recipe = workplace(tmp_path / "w", tiny_model)
    (tmp_path / "w" / "train.jsonl").unlink()
    explained(kitae("train", recipe), 2, "train.jsonl")
    explained(kitae("verify", tmp_path / "none.gguf"), 2, "none.gguf")
    explained(kitae("ship", "no-such-run"), 2, "no-such-run")
    assert not (kitae.home / "runs").exists()


def test_recipe_with_three_mistakes_shows_three(kitae: Kitae, tiny_model: Path, tmp_path: Path) -> None:
    recipe = workplace(tmp_path / "w", tiny_model)
    text = recipe.read_text().replace("epochs: 2", "epoch: 2").replace("max_length: 256", "max_length: long")
    recipe.write_text(text + "shipp: 1\n")
    done = kitae("train", recipe)
    explained(done, 2, "recipe.yaml:", "epochs", "model.max_length", "ship")
    assert "3" in done.err.splitlines()[0]


def test_bad_line_in_the_middle_and_empty_data(kitae: Kitae, tiny_model: Path, tmp_path: Path) -> None:
    recipe = workplace(tmp_path / "w", tiny_model)
    data = tmp_path / "w" / "train.jsonl"
    lines = data.read_text().splitlines()
    lines[30] = lines[30][:40]
    data.write_text("\n".join(lines))
    explained(kitae("train", recipe), 2, "train.jsonl:31")
    data.write_text("")
    explained(kitae("train", recipe), 2, "train.jsonl")
    data.write_text("prompt,completion\na,b\n")
    explained(kitae("train", recipe), 2, "train.jsonl:1", '{"prompt"')


def test_too_few_rows_to_validate_are_told_before_training(kitae: Kitae, tiny_model: Path, tmp_path: Path) -> None:
    recipe = workplace(tmp_path / "w", tiny_model)
    validation = tmp_path / "w" / "validation.jsonl"
    validation.write_text("".join(validation.read_text().splitlines(keepends=True)[:7]))
    explained(kitae("recipe", "check", recipe), 2, "7", "8")


def test_what_does_not_fit_into_memory_is_refused_before_anything_is_made(
    kitae: Kitae, tiny_model: Path, tmp_path: Path
) -> None:
    recipe = workplace(tmp_path / "w", tiny_model)
    new = f"model={{source: new, new: {{arch: llama, tokenizer: '{tiny_model}', hidden_size: 16384, layers: 64}}}}"
    done = kitae("train", recipe, "--set", new, "--set", "train.method=full", "--set", "train.lora=null", "--json")
    assert (done.code, done.json["error"]["kind"]) == (2, "too-large-anyway")
    assert kitae("runs", "list", "--json").json["runs"] == []


def test_damaged_models(kitae: Kitae, tiny_model: Path, copied: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    shutil.copytree(tiny_model, cut)
    weights = (cut / "model.safetensors").read_bytes()
    (cut / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    recipe = workplace(tmp_path / "w", cut)
    explained(kitae("train", recipe), 2, "model.safetensors")
    explained(kitae("verify", cut), 2, "model.safetensors")
    gguf = (copied / "work" / "tiny-F16.gguf").read_bytes()
    for name, content in (("half.gguf", gguf[: len(gguf) // 2]), ("head.gguf", gguf[:100]), ("none.gguf", b"")):
        (tmp_path / name).write_bytes(content)
        explained(kitae("verify", tmp_path / name), 2, name)
        explained(kitae("generate", tmp_path / name, "hi"), 2, name)
    (cut / "model.safetensors").unlink()
    explained(kitae("generate", cut, "hi"), 2, "model.safetensors")


def test_damaged_adapter(kitae: Kitae, copied: Path) -> None:
    file = copied / "adapter" / "adapter_model.safetensors"
    whole = file.read_bytes()
    for damage in (whole[:3000], whole[:-500]):
        file.write_bytes(damage)
        shutil.rmtree(copied / "work", ignore_errors=True)
        for command in (("generate", copied.name, "hi"), ("ship", copied.name), ("verify", copied.name)):
            explained(kitae(*command), 2, "adapter_model.safetensors")
    file.unlink()
    explained(kitae("generate", copied.name, "hi"), 2, "adapter_model.safetensors")


def test_hub_id_without_network(kitae: Kitae) -> None:
    explained(kitae("generate", "somebody/some-model", "hi", KITAE_OFFLINE="1"), 2, "somebody/some-model")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_full_disk(kitae: Kitae, copied: Path, tiny_model: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("tmpfs cannot be mounted here")
    try:
        done = kitae("export", copied.name, "--gguf", "F16", "--out", small / "model.gguf")
        explained(done, 1, "model.gguf")
        assert list(small.iterdir()) == []
        recipe = workplace(tmp_path / "w", tiny_model)
        whole = kitae("train", recipe, "--set", "train.method=full", "--set", "train.lora=null", KITAE_HOME=str(small))
        explained(whole, 1, "checkpoint-")
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_read_only_output(kitae: Kitae, copied: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = kitae("export", copied.name, "--gguf", "F16", "--out", tmp_path / "file" / "model.gguf")
    assert done.code in (1, 2)
    assert "→" in done.err
    (copied / "work" / "tiny-F16.gguf").unlink()
    explained(kitae("export", copied.name, "--gguf", "F16", "--out", tmp_path), 2, str(tmp_path))
    assert not (copied / "work" / "tiny-F16.gguf").exists(), "the place is looked at before the work is done"
    explained(kitae("recipe", "new", "/proc/x.yaml"), 2, "/proc/x.yaml")


def test_generate_and_chat(kitae: Kitae, copied: Path) -> None:
    one = kitae("generate", copied / "work" / "tiny-F16.gguf", "lunch on friday", "--max-tokens", "5", "--json")
    assert one.code == 0
    assert one.json["tokens"] <= 5
    same = kitae("generate", copied.name, "lunch on friday", "--max-tokens", "5", "--json")
    assert same.json["text"] is not None
    talk = kitae("chat", copied.name, "--max-tokens", "4", "--json", stdin="hello\n/reset\nagain\n/quit\n")
    assert talk.code == 0
    assert [m["role"] for m in talk.json["messages"]] == ["system", "user", "assistant"]
    assert talk.json["messages"][1]["content"] == "again"
    talk = kitae("chat", copied.name, "--max-tokens", "4", "--json", stdin="no \udcff text\nagain\n")
    assert talk.code == 0
    assert [m["content"] for m in talk.json["messages"] if m["role"] == "user"] == ["again"]
    explained(kitae("generate", copied.name, "no \udcff text"), 2, "udcff")


def test_exports_leave_the_files_beside_them_alone(kitae: Kitae, tiny_model: Path, tmp_path: Path) -> None:
    neighbours = {tmp_path / name: name.encode() for name in ("model.f16.gguf", "model.gguf.F16.gguf", ".model.gguf")}
    for path, content in neighbours.items():
        path.write_bytes(content)
    assert kitae("export", tiny_model, "--gguf", "Q8_0", "--out", tmp_path / "model.gguf").code == 0
    assert {path: path.read_bytes() for path in neighbours} == neighbours
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {*(p.name for p in neighbours), "model.gguf"}


def test_ship_to_a_place_that_is_taken(kitae: Kitae, copied: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    explained(kitae("ship", copied.name, "--out", tmp_path / "file"), 2, "file")
    assert (tmp_path / "file").read_text() == "mine"
    explained(kitae("ship", copied.name, "--out", tmp_path), 2, str(tmp_path))


def test_ship_makes_the_types_that_were_asked_for(kitae: Kitae, copied: Path, tmp_path: Path) -> None:
    out = tmp_path / "package"
    done = kitae("ship", copied.name, "--quant", "Q8_0", "--quant", "Q8_0", "--out", out, "--json")
    assert done.code == 0, done.err + done.out
    assert [path.name for path in out.glob("*.gguf")] == ["tiny-Q8_0.gguf"]
    assert kitae("verify", copied.name, "--json").json["verdict"] == "ship"
    (copied / "ship" / "tiny-Q8_0.gguf").unlink()
    assert kitae("verify", copied.name, "--json").json["verdict"] == "incomplete"
    with (copied / "data" / "test.jsonl").open("a") as file:
        file.write('{"messages": [{"role": "user", "content": "one more"}]}\n')
    assert kitae("ship", copied.name).code == 3
    assert not (copied / "ship").exists()
    assert (copied / "withdrawn" / "model.safetensors").exists()


def test_resume_takes_no_recipe(kitae: Kitae, copied: Path, tiny_model: Path, tmp_path: Path) -> None:
    recipe = workplace(tmp_path / "w", tiny_model)
    Run(copied).set_state("interrupted")
    for more in ([recipe], ["--set", "train.epochs=9"]):
        done = kitae("train", *more, "--resume", copied.name, "--json")
        assert (done.code, done.json["error"]["kind"]) == (2, "resume-alone")


def test_two_commands_on_one_run(kitae: Kitae, copied: Path) -> None:
    with Run(copied).alone():
        for command in (["ship", copied.name], ["merge", copied.name], ["runs", "rm", copied.name]):
            explained(kitae(*command), 2, copied.name)
    assert (copied / "work" / "merged").exists()
