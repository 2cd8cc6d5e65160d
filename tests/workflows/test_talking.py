"""Whatever a user names to be asked stops where its run says, not only where its files do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kitae.ask.answering import conversation, generate, open_target
from kitae.core.errors import InputError
from kitae.core.files import write_text
from kitae.generate import Settings
from kitae.recipe import load_recipe, recipe_yaml
from kitae.runs import create_run
from kitae.targets import resolve

from ..conftest import Tiny


@pytest.fixture
def model(tiny_llama: Tiny) -> Path:
    return tiny_llama(tokens=4096)


def test_a_recipes_stop_tokens_end_answers(model: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    recipe = tmp_path / "recipe.yaml"
    said = f"model: {{source: {model}, stop_tokens: ['<|im_start|>']}}\ndata: {{train: [{{path: rows.jsonl}}]}}\n"
    recipe.write_text(f"name: a\n{said}")
    run = create_run("a", "")
    write_text(run.recipe_path, recipe_yaml(load_recipe(recipe)))
    (run.path / "manifest.json").write_text(json.dumps({"model": {"folder": str(model)}}))
    (run.path / "model").symlink_to(model)
    found = resolve(run.id)
    engine, _ = open_target(run.id)
    assert engine.stop_tokens == {1, 2}
    assert found.fingerprint()[-1] == "<|im_start|>"


@pytest.mark.parametrize("prompt", ["", "  \n"])
def test_nothing_is_no_question(model: Path, prompt: str) -> None:
    with pytest.raises(InputError) as told:
        generate(str(model), prompt)
    assert told.value.kind == "prompt-empty"


def test_a_name_that_is_nothing_is_shown_what_there_is(tmp_path: Path) -> None:
    run = create_run("chats", "")
    with pytest.raises(InputError) as told:
        resolve("nosuchrun")
    assert told.value.kind == "model-missing" and "nosuchrun" in told.value.message
    assert run.id in told.value.why and "smollm2-135m-instruct" in told.value.why


def test_a_model_without_a_template_can_be_asked(model: Path) -> None:
    (model / "chat_template.jinja").unlink()
    few = Settings(max_tokens=4)
    with pytest.raises(InputError) as told:
        generate(str(model), "Once", settings=few)
    assert told.value.kind == "template-missing" and "--raw" in told.value.fix
    prompts = []
    for template in ("raw", "chatml"):
        engine, _ = open_target(str(model), template=template)
        prompts.append(engine.codec.vocabulary.decode(engine.codec.prompt(conversation("Once", None))))
        assert generate(str(model), "Once", settings=few, template=template)["tokens"] > 0
    assert prompts == ["Once", "<|im_start|>user\nOnce<|im_end|>\n<|im_start|>assistant\n"]
    with pytest.raises(InputError) as told:
        generate(str(model), "Once", template="nosuch")
    assert "chatml" in told.value.why
