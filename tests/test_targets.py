"""One value says what a user's name stands for, so every command stops where the run says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from kitae.ask.answering import generate, open_target
from kitae.ask.named import ClientSpec
from kitae.cli.chat import chat
from kitae.core.errors import InputError
from kitae.core.files import write_text
from kitae.data import Rows
from kitae.generate import Settings, complete
from kitae.generate.scheduler import Scheduler
from kitae.models import Target, open_codec
from kitae.recipe import load_recipe, recipe_yaml
from kitae.runs import Run, create_run
from kitae.targets import Address, address_named, base_target, resolve, run_named, trained_target
from kitae.verify.run import RunVerifier
from kitae.workflows.evaluation import evaluate
from tests.conftest import Tiny

ROWS = "".join(json.dumps({"prompt": f"say {i}", "completion": f"what {i}"}) + "\n" for i in range(12))


@pytest.fixture
def model(tiny_llama: Tiny) -> Path:
    """It says nothing but <|im_start|>, which is no stop token of its own."""
    folder = tiny_llama(tokens=4096)
    tensors = load_file(folder / "model.safetensors")
    for name in tensors:
        if "o_proj" in name or "down_proj" in name:
            tensors[name] = torch.zeros_like(tensors[name])
    codec = open_codec(folder)
    last = codec.vocabulary.encode("\n")[-1]  # what a prompt ends with
    embedding = tensors["model.embed_tokens.weight"]
    embedding[codec.vocabulary.control["<|im_start|>"]] = 10 * embedding[last]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture
def run(model: Path, tmp_path: Path) -> Run:
    """Trained, not shipped."""
    (tmp_path / "rows.jsonl").write_text(ROWS)
    (tmp_path / "more.jsonl").write_text(ROWS.replace("say", "tell"))
    data = "data: {train: [{path: rows.jsonl}], validation: [{path: more.jsonl}]}"
    said = f"name: a\nmodel: {{source: {model}, stop_tokens: ['<|im_start|>']}}\n{data}\nevaluate: {{max_new_tokens: 9}}\n"
    (tmp_path / "recipe.yaml").write_text(said)
    recipe = load_recipe(tmp_path / "recipe.yaml")
    made = create_run("a", "")
    write_text(made.recipe_path, recipe_yaml(recipe))
    (made.path / "manifest.json").write_text(json.dumps({"model": {"folder": str(model)}}))
    Rows.gather(recipe.data.train, recipe.data.validation, [], 0).save(made.data)
    (made.path / "model").symlink_to(model)
    return made


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How each answer ended."""
    seen: list[str] = []
    step = Scheduler.step

    def heard(self: Scheduler) -> list[object]:
        chunks = step(self)
        seen.extend(chunk.finish for chunk in chunks if chunk.finish)
        return chunks

    monkeypatch.setattr(Scheduler, "step", heard)
    return seen


def by_client(name: str) -> None:
    speaker = ClientSpec(name).open()
    engine = speaker._engine  # type: ignore[attr-defined]
    complete(engine, [engine.codec.prompt(Rows.load(run_named(name).data).validation[0].prompt)], Settings(max_tokens=9))  # type: ignore[union-attr]


def by_teacher(name: str) -> None:
    engine, _ = open_target(name, trained=True)
    complete(engine, [engine.codec.prompt(Rows.load(run_named(name).data).validation[0].prompt)], Settings(max_tokens=9))  # type: ignore[union-attr]


def by_chat(name: str) -> None:
    chat(name, None, Settings(max_tokens=9), None)


COMMANDS: dict[str, Callable[[str], object]] = {
    "generate": lambda name: generate(name, "say 3", settings=Settings(max_tokens=9)),
    "chat": by_chat,
    "eval": lambda name: evaluate(name, ["exact_match"]),
    "compare": lambda name: evaluate(name, ["exact_match"], against=name),
    "teacher": by_teacher,
    "synth and judge": by_client,
}


@pytest.mark.parametrize("command", COMMANDS)
def test_answers_end_where_the_run_says(command: str, run: Run, ends: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    lines = iter(["say 3", None])
    monkeypatch.setattr("kitae.cli.chat._read_line", lambda: next(lines))
    COMMANDS[command](run.id)
    assert ends and set(ends) == {"stop"}


def test_its_own_files_would_not_end_them(model: Path, ends: list[str]) -> None:
    generate(str(model), "say 3", settings=Settings(max_tokens=9))
    assert ends == ["length"]


def test_gates_ask_the_same_value(run: Run) -> None:
    verifier = RunVerifier(run)
    assert verifier.trained == trained_target(run) and verifier.base == base_target(run)
    asked = resolve(run.id, trained=True)
    assert (asked.path, asked.stops, asked.folder) == (run.output, ("<|im_start|>",), run.output)
    assert verifier.stop_tokens == (1,)


def test_a_target_survives_json(tmp_path: Path) -> None:
    target = Target(tmp_path, "merged", tmp_path / "base", "chatml", "Be brief.", ("<a>", "<b>"))
    assert Target.from_dict(json.loads(json.dumps(target.as_dict()))) == target


def test_what_names_stand_for(model: Path, run: Run, tmp_path: Path) -> None:
    assert resolve(str(model)).kind == "folder" and resolve(run.id[:-2]).path == run.output
    assert resolve(str(model), template="chatml").template == "chatml"
    for wrong, kind in (("nosuchrun", "model-missing"), ("none.gguf", "file-missing"), (str(tmp_path), "model-folder")):
        with pytest.raises(InputError) as told:
            resolve(wrong)
        assert told.value.kind == kind
    (run.path / "model").unlink()
    with pytest.raises(InputError) as told:
        resolve(run.id)
    assert told.value.kind == "run-untrained"


def test_an_address_names_its_model() -> None:
    assert address_named("http://localhost:1/v1#some/model") == Address("http://localhost:1/v1", "some/model")
    assert address_named("owner/model") is None and address_named("file.gguf") is None
    with pytest.raises(InputError) as told:
        address_named("http://localhost:1/v1")
    assert (told.value.kind, told.value.where) == ("endpoint-model", "http://localhost:1/v1")
