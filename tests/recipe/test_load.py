"""A recipe is read whole, or all of its mistakes are named at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from kitae.core.errors import InputError, RecipeError
from kitae.core.i18n import LANGUAGES, set_language
from kitae.recipe import Recipe, commented_recipe, load_recipe, parse_recipe, recipe_yaml

BASE = "name: demo\ndata:\n  train: [{path: t.jsonl}]\n"


def problems(text: str, *overrides: str) -> list[tuple[str, str, str]]:
    """(where, key, message and fix) of every mistake."""
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text, "r.yaml", overrides)
    assert caught.value.exit_code == 2
    assert f"{len(caught.value.problems)} mistake" in caught.value.message
    return [(p.where, p.key, f"{p.message} {p.fix}".strip()) for p in caught.value.problems]


def test_settings_that_have_no_place() -> None:
    for override in ("train.epochs.x=4", "data.train.7.path=x"):
        (found,) = [problem for problem in problems(BASE, "train.epochs=2", override) if override in problem[0]]
        assert found[2] == "no section or list holds this key."


def only(text: str, *overrides: str) -> tuple[str, str, str]:
    (problem,) = problems(text, *overrides)
    return problem


def test_defaults() -> None:
    recipe = parse_recipe(BASE, "r.yaml")
    assert recipe.model.source == "smollm2-135m-instruct"
    assert recipe.data.train[0].format == "auto"
    assert recipe.data.validation.fraction == 0.2  # type: ignore[union-attr]
    assert recipe.train.method == "lora"
    assert (recipe.train.lora_settings.r, recipe.train.lora_settings.alpha) == (16, 32)
    assert recipe.quants == ["F16", "Q4_K_M"]
    assert recipe.peak_learning_rate == 1e-3
    assert parse_recipe(BASE + "train: {method: full}", "r").peak_learning_rate == 1e-4
    assert parse_recipe(BASE + "train: {learning_rate: 2e-4}", "r").peak_learning_rate == 2e-4


def test_all_mistakes_at_once() -> None:
    text = """\
name: demo
modle: {source: x}
data:
  train: [{path: t.jsonl, limt: 3}]
  validation: []
train:
  method: full
  lora: {r: 8}
  epochs: many
  seed: 0
  seed: 1
evaluate: {suites: [exact_match]}
"""
    found = problems(text)
    places = {(where, key) for where, key, _ in found}
    assert places == {
        ("r.yaml:11", "train.seed"),
        ("r.yaml:2", "modle"),
        ("r.yaml:4", "data.train.0.limt"),
        ("r.yaml:9", "train.epochs"),
        ("r.yaml:8", "train.lora"),
        ("r.yaml:5", "data.validation"),
        ("r.yaml:12", "evaluate.suites"),
    }
    told = {key: message for _, key, message in found}
    assert 'Did you mean "model"?' in told["modle"]
    assert "learning_rate" in only(BASE + "train: {lr: 1}")[2]
    assert 'Did you mean "limit"?' in told["data.train.0.limt"]
    assert "r.yaml:10" in told["train.seed"]
    assert "'many'" in told["train.epochs"]


def test_a_key_that_resembles_none_lists_the_known_ones() -> None:
    where, key, message = only(BASE + "ship:\n  zzzzzz: 1\n")
    assert (where, key) == ("r.yaml:5", "ship.zzzzzz")
    assert "gguf, dtype" in message


NEWLLM = "model: {source: new, new: {arch: newllm, tokenizer: t}}\n"


@pytest.mark.parametrize(
    ("extra", "line", "key"),
    [
        ("train: {epochs: 0}", 4, "train.epochs"),
        ("train: {epochs: 1.5}", 4, "train.epochs"),
        ("train: {epochs: yes}", 4, "train.epochs"),
        ("train:\n  learning_rate: .nan", 5, "train.learning_rate"),
        ("train: {lora: {alpha: .inf}}", 4, "train.lora.alpha"),
        ("train: {lora: {targets: 5}}", 4, "train.lora.targets"),
        ("train: [1]", 4, "train"),
        ("model: {source: 5}", 4, "model.source"),
        ("model: {source: new}", 4, "model.new"),
        ("model: {source: new, new: {arch: newllm, tokenizer: t, blocks: []}}\ntrain: {method: full}", 4, "model.new.blocks"),
        (
            "model: {source: new, new: {arch: newllm, tokenizer: t, blocks: [0]}}\ntrain: {method: full}",
            4,
            "model.new.blocks.0",
        ),
        (NEWLLM.replace("}}", ", blocks: [true]}}") + "train: {method: full}", 4, "model.new.blocks"),
        (NEWLLM.replace("}}", ", parameters: 99999999999}}") + "train: {method: full}", 4, "model.new.parameters"),
        (
            "model: {source: new, new: {arch: newllm, tokenizer: t, tolerance: 0}}\ntrain: {method: full}",
            4,
            "model.new.tolerance",
        ),
        ("model: {source: new, new: {arch: newllm, tokenizer: t, heads: 2}}\ntrain: {method: full}", 4, "model.new.heads"),
        (
            "model: {source: new, new: {arch: newllm, tokenizer: t, cell: matrix, solver: jacobi}}\ntrain: {method: full}",
            4,
            "model.new.solver",
        ),
        (
            "model: {source: new, new: {arch: llama, tokenizer: t, heads: 3, kv_heads: 3}}\ntrain: {method: full}",
            4,
            "model.new.heads",
        ),
        ("model: {source: new, new: {arch: llama, tokenizer: t, kv_heads: 3}}\ntrain: {method: full}", 4, "model.new.kv_heads"),
        ("model: {source: new, new: {arch: gru, tokenizer: t}}", 1, "train.method"),
        ("model: {new: {arch: gru, tokenizer: t}}\ntrain: {method: full}", 4, "model.source"),
        (NEWLLM + "train: {method: newllm, newllm: {epochs: 0}}", 5, "train.newllm.epochs"),
        (NEWLLM + "train: {method: newllm, newllm: {remember_mb: 9}}", 5, "train.newllm.remember_mb"),
        (NEWLLM + "train: {method: newllm, newllm: {epochs: 0, freeze: true, ahead: 2}}", 5, "train.newllm.ahead"),
        ("train: {schedule: plateau, warmup: 0.1}", 4, "train.warmup"),
        ("train: {lora: {r: 0}}", 4, "train.lora.r"),
        ("train: {method: full, dpo: {beta: 1}}", 4, "train.dpo"),
        ("train: {soft_prompt: {tokens: 4}}", 4, "train.soft_prompt"),
        ("train: {method: soft-prompt, lora: {r: 4}}", 4, "train.lora"),
        ("train: {method: soft-prompt}\nship: {gguf: [F16]}", 5, "ship.gguf"),
        ("train: {method: soft-prompt, soft_prompt: {tokens: 0}}", 4, "train.soft_prompt.tokens"),
        ("train: {method: qlora}\nmodel: {source: a.gguf}", 5, "model.source"),
        ("train: {method: dpo, dpo: {whole: true}, lora: {r: 4}}", 4, "train.lora"),
        ("train: {method: dpo, dpo: {beta: 0}}", 4, "train.dpo.beta"),
        ("train: {method: dpo, early_stopping: {by: exact_match}}", 4, "train.early_stopping.by"),
        ("train: {method: dpo, early_stopping: {perplexity: 2}}", 4, "train.early_stopping.perplexity"),
        ("train: {early_stopping: {patience: 0}}", 4, "train.early_stopping.patience"),
        ("train: {method: distill}", 4, "train.distill"),
        (
            "train: {method: distill, distill: {teacher: t}, early_stopping: {perplexity: 2}}",
            4,
            "train.early_stopping.perplexity",
        ),
        ("train: {method: blend, epochs: 3, blend: {models: [a, b]}}", 4, "train.epochs"),
        ("train: {method: distill, distill: {}}", 4, "train.distill.teacher"),
        ("train: {method: distill, distill: {teacher: t, max_new_tokens: 9}}", 4, "train.distill.max_new_tokens"),
        ("train: {method: distill, distill: {teacher: t, shots: 2}}", 4, "train.distill.shots"),
        ("train: {method: distill, distill: {teacher: t, learn: answers, share: 0.1}}", 4, "train.distill.share"),
        ("train: {method: blend}", 4, "train.blend"),
        ("train: {method: blend, blend: {models: [a]}}", 4, "train.blend.models"),
        ("train: {method: blend, blend: {models: [a, b], weights: [1]}}", 4, "train.blend.weights"),
        ("train: {method: blend, blend: {models: [a, b], weights: [0, 0]}}", 4, "train.blend.weights"),
        ("train: {method: blend, blend: {models: [a, b, c], how: slerp}}", 4, "train.blend.models"),
        ("train: {method: blend, blend: {models: [a, a]}}", 4, "train.blend.models"),
        ("train: {seed: 4294967296}", 4, "train.seed"),
        ("train: {lora: {alpha: 1.0e+308}}", 4, "train.lora.alpha"),
        ("train: {lora: {targets: []}}", 4, "train.lora.targets"),
        ("train: {method: blend, blend: {models: [a, b], density: 0.2}}", 4, "train.blend.density"),
        ("train: {method: blend, learning_rate: 0.1, blend: {models: [a, b]}}", 4, "train.learning_rate"),
        ("model: {source: new, new: {arch: llama, tokenizer: t}}\ntrain: {method: qlora}", 5, "train.method"),
        (NEWLLM + "train: {method: newllm, layer_dropout: 0.1}", 5, "train.layer_dropout"),
        (NEWLLM + "train: {method: newllm, shard: true}", 5, "train.shard"),
        ("train: {method: qlora, shard: true}", 4, "train.shard"),
        (NEWLLM + "train: {method: full, shard: true}", 5, "train.shard"),
        ("train: {method: blend, shard: true, blend: {models: [a, b]}}", 4, "train.shard"),
        ("train: {shard: true, layer_dropout: 0.1}", 4, "train.layer_dropout"),
        ("train: {restarts: 2}", 4, "train.restarts"),
        ("train: {method: blend, kernels: liger, blend: {models: [a, b]}}", 4, "train.kernels"),
        (NEWLLM + "train: {method: newllm, kernels: liger}", 5, "train.kernels"),
        (NEWLLM + "train: {method: full, kernels: liger}", 5, "train.kernels"),
        ("train: {kernels: fast}", 4, "train.kernels"),
        (NEWLLM.replace("}}", ", passes: 1, settling: 1}}") + "train: {method: full}", 4, "model.new.settling"),
        (NEWLLM.replace("}}", ", solver: sequential, passes: 4}}") + "train: {method: full}", 4, "model.new.passes"),
        (
            NEWLLM.replace("}}", ", cell: seed-gated, longest_memory: 9}}") + "train: {method: full}",
            4,
            "model.new.longest_memory",
        ),
        ("model: {stop_tokens: x}", 4, "model.stop_tokens"),
        ("ship: {gguf: [Q9]}", 4, "ship.gguf.0"),
        ("model: {source: new, new: {arch: newllm, tokenizer: t}}\ntrain: {method: full}\nship: {gguf: [F16]}", 6, "ship.gguf"),
        ("verify: {stop_rate: 2}", 4, "verify.stop_rate"),
    ],
)
def test_wrong_values(extra: str, line: int, key: str) -> None:
    assert only(BASE + extra)[:2] == (f"r.yaml:{line}", key)


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ("5", "data.validation"),
        ("null", "data.validation"),
        ("{fraction: 2}", "data.validation.fraction"),
        ("[{path: x, format: =a}]", "data.validation.0.format"),
        ("{fracton: 0.2}", "data.validation.fracton"),
        ("[]", "data.validation"),
        ("[5]", "data.validation.0"),
        ("[{path: x, foo: 1}]", "data.validation.0.foo"),
        ("[{path: t.jsonl}]", "data.validation.0.path"),
    ],
)
def test_a_mistake_in_a_union_is_named_once_and_where_it_is(value: str, key: str) -> None:
    assert only(f"{BASE}  validation: {value}\n")[:2] == ("r.yaml:4", key)


def test_missing_keys() -> None:
    assert {(key, message) for _, key, message in problems("")} == {("name", "is missing."), ("data", "is missing.")}
    assert only("name: a\ndata:\n  train: [{limit: 1}]\n")[:2] == ("r.yaml:3", "data.train.0.path")
    assert only("name: a\ndata: {train: []}\n")[1] == "data.train"


@pytest.mark.parametrize("name", ["-a", "a/b", "../x", "a b", "", "x" * 65, "'a\\n'"])
def test_names_that_make_no_folder(name: str) -> None:
    assert only(BASE.replace("demo", f'"{name}"'))[1] == "name"


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("name: a\ndata: [\n", "r.yaml:3"),
        ("name: a\n\tdata: 1\n", "r.yaml:2"),
        ("name: 'a\n", "r.yaml:2"),
        (BASE + "x: !!python/object:os.system y\n", "r.yaml:4"),
        (BASE + "x: 2001-99-99\n", "r.yaml:4"),
        (BASE + "x: !!int ''\n", "r.yaml:4"),
        (BASE + "? [a]\n: 1\n", "r.yaml:4"),
        ("a: *nowhere\n", "r.yaml:1"),
        ("a: \x00\n", "r.yaml"),
        ("[" * 5000, "r.yaml"),
        ("- a\n- b\n", "r.yaml:1"),
        ("just words", "r.yaml:1"),
        ("7", "r.yaml:1"),
    ],
)
def test_text_that_is_no_recipe(text: str, where: str) -> None:
    assert only(text)[0] == where


def test_anchors_do_not_explode() -> None:
    loop = BASE + "loop: &a [*a]\n"
    assert only(loop)[1] == "loop"
    bomb = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 40))
    assert len(problems(bomb + BASE)) == 40
    shared = "name: a\ndata:\n  train: [&s {path: t.jsonl}]\n  test: [*s]\n"
    assert only(shared)[1] == "data.test.0.path"


@pytest.mark.parametrize("key", ["1: 2", "null: 2", "true: 2", "2001-01-01: 2", "1.5: x"])
def test_keys_that_are_no_text(key: str) -> None:
    assert problems(f"{key}\n{BASE}")


def test_overrides() -> None:
    recipe = parse_recipe(
        BASE, "r.yaml", ["train.epochs=7", "data.train.0.limit=3", "name=other", "ship.gguf=[F16]", "evaluate.prompts=9"]
    )
    assert (recipe.train.epochs, recipe.data.train[0].limit, recipe.name) == (7, 3, "other")
    assert (recipe.ship.gguf, recipe.evaluate.prompts) == (["F16"], 9)


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("train.epoch=3", "train.epoch"),
        ("train.epochs=x", "train.epochs"),
        ("new.deep=1", "new"),
        ("nope", "nope"),
        ("=1", ""),
        ("train.epochs=[", "train.epochs"),
        ("name.x=1", "name.x"),
        ("data.train.5.limit=1", "data.train.5.limit"),
        ("data.train.x=1", "data.train.x"),
        ("0=1", "0"),
        ("²=1", "²"),
    ],
)
def test_a_bad_override_names_itself(override: str, key: str) -> None:
    assert only(BASE, override)[:2] == (f"--set {override}", key)


def test_bad_overrides_are_told_together_with_the_file() -> None:
    assert {where for where, _, _ in problems(BASE + "foo: 1\n", "train.epoch=3")} == {"r.yaml:4", "--set train.epoch=3"}


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load_recipe(tmp_path / "none.yaml")
    assert caught.value.kind == "file-missing"
    (tmp_path / "latin.yaml").write_bytes("name: caf\xe9\n".encode("latin-1"))
    for path, kind in ((tmp_path / "latin.yaml", "file-unreadable"), (tmp_path, "file-folder")):
        with pytest.raises(InputError) as caught:
            load_recipe(path)
        assert caught.value.kind == kind
        assert caught.value.where == str(path)


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_bytes(b"\xef\xbb\xbf" + BASE.encode())
    assert load_recipe(tmp_path / "r.yaml").name == "demo"


def test_resolved_recipes_read_as_themselves() -> None:
    text = (
        BASE + "  validation: [{path: v.jsonl, limit: 2}]\ntrain: {method: full, early_stopping: null}\nship: {gguf: [Q8_0]}\n"
    )
    for recipe in (parse_recipe(BASE, "r"), parse_recipe(text, "r")):
        assert parse_recipe(recipe_yaml(recipe), "again") == recipe


def test_paths_belong_to_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "sub"
    (folder / "mine").mkdir(parents=True)
    text = BASE + "  validation: [{path: ../v.jsonl}]\n  test: [{path: ~/w.jsonl}]\n"
    text += "model: {source: mine, chat_template: c.jinja}\n"
    (folder / "r.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(Path("sub/r.yaml"))
    assert recipe.data.train[0].path == str(folder / "t.jsonl")
    assert Path(recipe.data.validation[0].path).resolve() == tmp_path / "v.jsonl"  # type: ignore[index]
    assert recipe.data.test[0].path == str(tmp_path / "w.jsonl")
    assert recipe.model.source == str(folder / "mine")
    assert recipe.model.chat_template == str(folder / "c.jinja")


@pytest.mark.parametrize("other", ["./t.jsonl", "x/../t.jsonl", "{folder}/t.jsonl"])
@pytest.mark.parametrize("part", ["validation", "test"])
def test_one_file_in_two_parts_however_it_is_spelled(tmp_path: Path, part: str, other: str) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(f"{BASE}  {part}: [{{path: {other.format(folder=tmp_path)}}}]\n")
    with pytest.raises(RecipeError) as caught:
        load_recipe(recipe)
    assert [p.key for p in caught.value.problems] == [f"data.{part}.0.path"]
    assert "data.train" in caught.value.why


@pytest.mark.parametrize("source", ["smollm2-135m-instruct", "owner/name", "x" * 5000, '"a\\0b"'])
def test_sources_that_are_no_folder_stay(tmp_path: Path, source: str) -> None:
    (tmp_path / "r.yaml").write_text(BASE + f"model: {{source: {source}}}\n", encoding="utf-8")
    assert load_recipe(tmp_path / "r.yaml").model.source in (source, "a\0b")


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize(
    ("name", "train", "source"),
    [
        ("demo", "train.jsonl", "owner/name"),
        ("2024", "a: b #c.jsonl", "C:\\models\\x"),
        ("my recipe", "{x}.jsonl", "~/model"),
        ("日本語", "データ.jsonl", "[a]"),
        ("x" * 99, "'q\".jsonl", "yes"),
    ],
)
def test_the_commented_recipe_is_right(lang: str, name: str, train: str, source: str) -> None:
    set_language(lang)
    try:
        text = commented_recipe(name, train, source)
        recipe = parse_recipe(text, "r.yaml")
    finally:
        set_language(None)
    assert (recipe.data.train[0].path, recipe.model.source) == (train, source)
    assert text.count("#") >= 6


def test_schema_names_every_section() -> None:
    schema = Recipe.model_json_schema()
    assert set(schema["properties"]) == {"name", "model", "data", "train", "evaluate", "verify", "ship"}
    assert schema["additionalProperties"] is False


_WORDS = """name model data train validation fraction test path limit lora epochs evaluate suites exact_match ship gguf F16
true null 1 -3 0.5 .inf 2001-13-01 1:61 0x _ !!int !!timestamp !!binary !!set &a *a << = ~ | > ' " # - ? : , [ ] { }"""
_words = st.sampled_from(_WORDS.split())
_space = st.sampled_from([" ", "\n", "\n  ", "\n    ", ": ", "- ", ""])
_yamlish = st.lists(st.tuples(_words, _space), max_size=24).map(lambda parts: "".join(a + b for a, b in parts))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(st.one_of(_yamlish, _yamlish.map(lambda text: BASE + text), st.text(max_size=60)))
def test_no_text_breaks_the_reader(text: str) -> None:
    try:
        assert isinstance(parse_recipe(text, "r.yaml"), Recipe)
    except InputError as error:
        assert error.why


_KEYS = "data train validation fraction test path limit 0 1 -1 lora r name x ² model source"
_key = st.sampled_from(_KEYS.split())


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_key, min_size=1, max_size=4).map(".".join), _yamlish)
def test_no_override_breaks_the_reader(key: str, value: str) -> None:
    try:
        assert isinstance(parse_recipe(BASE, "r.yaml", [f"{key}={value}"]), Recipe)
    except InputError as error:
        assert error.why
