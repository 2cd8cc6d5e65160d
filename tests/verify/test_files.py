"""What a model's files say to the programs that run it. Each of these models was once called proven."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from kitae.chat import ChatCodec, ChatTemplate, ollama_template, sample_talks
from kitae.verify.files import modelfile

from .conftest import Verify


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    value = json.loads(path.read_text()) if path.exists() else {}
    change(value)
    path.write_text(json.dumps(value))


def refused(found: dict[str, Any]) -> dict[str, str]:
    return {gate.id: gate.case for name, gate in found.items() if name != "verdict" and gate.verdict == "refuse"}


def test_a_good_model_passes_alone_and_beside_itself(verify: Verify, good: Path, copy: Path) -> None:
    alone = verify(good)
    assert alone["verdict"] == "ship", alone
    assert alone["merge.equivalent"].verdict == "skip" and not alone["merge.equivalent"].required
    paired = verify(copy, good)
    assert paired["verdict"] == "ship", paired
    assert not refused(paired)


def test_no_end_in_generation_config(verify: Verify, good: Path, copy: Path) -> None:
    """Where that file is, libraries read no other one."""
    edit(copy / "generation_config.json", lambda value: value.pop("eos_token_id"))
    assert refused(verify(copy, good)) == {"merge.equivalent": "other-text"}
    assert refused(verify(copy)) == {"chat.stop-tokens": "disagree"}


def test_other_defaults(verify: Verify, good: Path, copy: Path) -> None:
    edit(copy / "generation_config.json", lambda value: value.update(repetition_penalty=1.8, temperature=1.8, do_sample=True))
    gate = verify(copy, good)["hf.defaults"]
    assert (gate.verdict, gate.case) == ("refuse", "differ")
    assert "repetition_penalty: 1.8 ≠ –" in gate.evidence
    alone = verify(copy)
    assert (alone["hf.defaults"].verdict, alone["verdict"]) == ("warn", "ship")


def begin_twice(tokenizer: dict[str, Any]) -> None:
    token = {"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    named = {"<|im_start|>": {"id": "<|im_start|>", "ids": [1], "tokens": ["<|im_start|>"]}}
    tokenizer["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [token, token, text],
        "pair": [token, text, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": named,
    }


def forget_the_end(tokenizer: dict[str, Any]) -> None:
    tokenizer["added_tokens"] = [token for token in tokenizer["added_tokens"] if token["content"] != "<|im_end|>"]


def cut(tokenizer: dict[str, Any]) -> None:
    tokenizer["truncation"] = {"direction": "Right", "max_length": 128, "strategy": "LongestFirst", "stride": 0}


def fill(tokenizer: dict[str, Any]) -> None:
    tokenizer["padding"] = {
        "strategy": {"Fixed": 64},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 2,
        "pad_type_id": 0,
        "pad_token": "<|im_end|>",
    }


@pytest.mark.parametrize(
    ("change", "case"), [(begin_twice, "wraps"), (forget_the_end, "other-ids"), (cut, "cut"), (fill, "filled")]
)
def test_tokenizer_json_alone(verify: Verify, good: Path, copy: Path, change: Callable[[Any], None], case: str) -> None:
    edit(copy / "tokenizer.json", change)
    paired, alone = verify(copy, good, only=("hf.tokenizer",)), verify(copy, only=("hf.tokenizer",))
    assert (alone["hf.tokenizer"].verdict, alone["hf.tokenizer"].case) == ("refuse", case)
    seen = paired["hf.tokenizer"]  # which also sees what is lost
    assert (seen.verdict, seen.case) == ("refuse", "other-parts" if case == "other-ids" else case)


def test_a_shorter_context(verify: Verify, good: Path, copy: Path) -> None:
    edit(copy / "config.json", lambda value: value.update(max_position_embeddings=512))
    gate = verify(copy, good)["merge.equivalent"]
    assert (gate.verdict, gate.case) == ("refuse", "shorter")


def test_positions_that_differ_far_into_a_text(verify: Verify, good: Path, copy: Path) -> None:
    rope = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}
    edit(copy / "config.json", lambda value: value.update(max_position_embeddings=512, rope_parameters=rope))
    gate = verify(copy, good)["merge.equivalent"]
    assert (gate.verdict, gate.case) == ("refuse", "far-in"), gate
    assert any("rope" in line for line in gate.evidence)


def test_an_index_that_lacks_a_layer(verify: Verify, good: Path, copy: Path) -> None:
    names = load_file(copy / "model.safetensors").keys()
    listed = {name: "model.safetensors" for name in names if ".layers.1." not in name}
    (copy / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": listed}))
    for found in (verify(copy, good), verify(copy)):
        gate = found["merge.complete"]
        assert (gate.verdict, gate.case) == ("refuse", "unlisted")
        assert "layer 1" in " ".join(gate.evidence)


def test_a_weight_that_is_no_number(verify: Verify, good: Path, copy: Path) -> None:
    tensors = load_file(copy / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight"][3, 4] = float("nan")
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    for found in (verify(copy, good), verify(copy)):
        gate = found["merge.complete"]
        assert (gate.verdict, gate.case) == ("refuse", "not-finite")
        assert "model.layers.1.mlp.up_proj.weight" in gate.evidence[1]


def test_which_weights_differ(verify: Verify, good: Path, copy: Path) -> None:
    tensors = load_file(copy / "model.safetensors")
    for name in tensors:
        if ".layers.0." in name and "norm" not in name:
            tensors[name] *= 1.5
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    gate = verify(copy, good)["merge.equivalent"]
    assert (gate.verdict, gate.case) == ("refuse", "differs")
    assert "layer 0" in " ".join(gate.evidence)


def test_a_weight_that_hardly_matters_is_told(verify: Verify, good: Path, copy: Path) -> None:
    tensors = load_file(copy / "model.safetensors")
    name = next(name for name in tensors if "1.mlp.up_proj" in name)
    tensors[name] *= 1.003
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    gate = verify(copy, good)["merge.equivalent"]
    assert (gate.verdict, gate.case) == ("warn", "other-weights")
    assert gate.evidence[0].startswith("1 / ") and name in gate.evidence[1]
    half = {name: tensor.half() for name, tensor in load_file(good / "model.safetensors").items()}
    save_file(half, copy / "model.safetensors", metadata={"format": "pt"})
    assert verify(copy, good)["merge.equivalent"].verdict == "pass"  # the same ones, stored in another way


def lose_merge(tokenizer: dict[str, Any]) -> None:
    del tokenizer["model"]["merges"][-30]


def lose_added(tokenizer: dict[str, Any]) -> None:
    tokenizer["added_tokens"] = [token for token in tokenizer["added_tokens"] if token["content"] != "<file_sep>"]


def swap_words(tokenizer: dict[str, Any]) -> None:
    words = tokenizer["model"]["vocab"]
    one, other = sorted(words, key=words.__getitem__)[-40:-38]
    words[one], words[other] = words[other], words[one]


def add_word(tokenizer: dict[str, Any]) -> None:
    """Which cuts every text that it is in."""
    last = tokenizer["added_tokens"][-1]
    tokenizer["added_tokens"].append({**last, "id": 49_153, "content": "cancer", "special": False})


@pytest.mark.parametrize(
    ("change", "part"),
    [(lose_merge, "merges"), (lose_added, "<file_sep>"), (swap_words, "vocab: 2"), (add_word, "cancer")],
)
def test_parts_of_a_tokenizer_that_no_probe_reads(
    verify: Verify, good: Path, copy: Path, change: Callable[[Any], None], part: str
) -> None:
    edit(copy / "tokenizer.json", change)
    gate = verify(copy, good)["hf.tokenizer"]
    assert (gate.verdict, gate.case) == ("refuse", "other-parts") and part in gate.evidence[0]


def spell_otherwise(tokenizer: dict[str, Any]) -> None:
    merges = tokenizer["model"]["merges"]
    tokenizer["model"]["merges"] = [merge.split(" ") if isinstance(merge, str) else " ".join(merge) for merge in merges]
    tokenizer["added_tokens"].append({**tokenizer["added_tokens"][-1], "id": 49_152, "content": "<|more|>"})


def test_a_tokenizer_that_is_spelled_otherwise_is_the_same(verify: Verify, good: Path, copy: Path) -> None:
    edit(copy / "tokenizer.json", spell_otherwise)
    assert verify(copy, good)["hf.tokenizer"].verdict == "pass"


def test_settings_that_differ_are_named(verify: Verify, good: Path, copy: Path) -> None:
    edit(copy / "config.json", lambda value: value.update(rms_norm_eps=0.5))
    gate = verify(copy, good)["merge.equivalent"]
    assert (gate.verdict, gate.case) == ("refuse", "differs")
    assert "config.json, rms_norm_eps: 0.5 ≠ 1e-06" in gate.evidence
    assert "0 tensors" in gate.evidence


def test_bf16_hides_no_other_fault(verify: Verify, good: Path, copy: Path) -> None:
    tensors = {name: tensor.to(torch.bfloat16) for name, tensor in load_file(copy / "model.safetensors").items()}
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    edit(copy / "config.json", lambda value: value.update(max_position_embeddings=512))
    assert refused(verify(copy, good)) == {"merge.equivalent": "shorter"}


def test_a_folder_that_lost_its_template(verify: Verify, good: Path, copy: Path) -> None:
    (copy / "chat_template.jinja").unlink()
    assert refused(verify(copy, good))["merge.equivalent"] == "other-text"


def test_what_was_not_read_is_not_said_to_be_fine(verify: Verify, copy: Path) -> None:
    tensors = load_file(copy / "model.safetensors")
    tensors["model.norm.weight"][0] = float("nan")
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    found = verify(copy, only=("hf.stops",))
    assert (found["hf.stops"].verdict, found["hf.stops"].case, found["verdict"]) == ("skip", "not-whole", "incomplete")


def test_weights_in_bf16(verify: Verify, good: Path, copy: Path) -> None:
    tensors = {name: tensor.to(torch.bfloat16) for name, tensor in load_file(copy / "model.safetensors").items()}
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    found = verify(copy, good)
    assert not refused(found), found["merge.equivalent"]


def test_a_template_that_ends_with_an_empty_line(verify: Verify, good: Path, copy: Path) -> None:
    path = copy / "chat_template.jinja"
    path.write_text(path.read_text() + "\n")
    assert not refused(verify(copy, good))


def test_the_first_difference_is_shown(verify: Verify, good: Path, copy: Path) -> None:
    path = copy / "chat_template.jinja"
    path.write_text(path.read_text().replace("<|im_start|>assistant", "<|im_start|>Assistant"))
    gate = verify(copy, good)["merge.equivalent"]
    assert gate.case == "other-text"
    assert any("Assistant" in line and "assistant" in line and line.startswith("rendered") for line in gate.evidence)


@pytest.mark.parametrize(
    ("text", "verdict", "case"),
    [
        ('FROM ./x.gguf\nPARAMETER stop "<|im_end|>"\n', "warn", "no-template"),
        ("FROM ./x.gguf\n", "refuse", "stops"),
        ('FROM ./x.gguf\nPARAMETER\tstop\t"<|im_end|>"\n', "warn", "no-template"),
        ('FROM ./x.gguf\nTEMPLATE """{{ .Prompt }}"""\nPARAMETER stop "<|im_end|>"\n', "refuse", "template"),
        (
            'FROM ./x.gguf\nTEMPLATE """{{ range .Messages }}{{ .Content }}{{ end }}"""\nPARAMETER stop "<|im_end|>"\n',
            "refuse",
            "template",
        ),
        (
            'FROM ./x.gguf\nTEMPLATE """{{ range .Messages }}{{ json .Content }}{{ end }}"""\nPARAMETER stop "<|im_end|>"\n',
            "warn",
            "not-read",
        ),
    ],
)
def test_a_modelfile(verify: Verify, copy: Path, text: str, verdict: str, case: str) -> None:
    (copy / "Modelfile").write_text(text)
    gate = verify(copy, only=("hf.modelfile",))["hf.modelfile"]
    assert (gate.verdict, gate.case) == (verdict, case)


def test_a_modelfile_is_about_its_own_file(codec: ChatCodec, tmp_path: Path) -> None:
    (tmp_path / "Modelfile").write_text("FROM ./b.gguf\n")
    assert modelfile(tmp_path / "Modelfile", codec, "a.gguf").verdict == "skip"
    assert modelfile(tmp_path / "Modelfile", codec, "b.gguf").case == "stops"


def test_ollama_begins_texts_itself(codec: ChatCodec, tmp_path: Path) -> None:
    source = codec.template.source
    begins = ChatCodec(codec.vocabulary, ChatTemplate("{{ bos_token }}" + source, {"bos_token": "<|endoftext|>"}))
    said = ollama_template(codec.template)
    (tmp_path / "Modelfile").write_text(f'FROM ./b.gguf\nTEMPLATE """{said}"""\nPARAMETER stop "<|im_end|>"\n')
    assert modelfile(tmp_path / "Modelfile", begins).verdict == "pass"


def test_a_modelfile_that_is_right_for_one_turn_only(codec: ChatCodec, tmp_path: Path) -> None:
    """Ollama repeats a template without `.Messages` for each turn, and with it what is said where no system message is."""
    told, alone = (codec.template.render(talk, add_generation_prompt=True) for talk in sample_talks(codec.template)[::2][::-1])
    head = told.split("Be brief.")[0], told.split("Be brief.")[1].split("Hello.")[0]
    turn = alone.split("Hello.")
    said = (
        f"{{{{ if .System }}}}{head[0]}{{{{ .System }}}}{head[1]}{{{{ else }}}}{turn[0]}{{{{ end }}}}{{{{ .Prompt }}}}{turn[1]}"
    )
    (tmp_path / "Modelfile").write_text(
        f'FROM ./b.gguf\nTEMPLATE """{said}{{{{ .Response }}}}<|im_end|>\n"""\nPARAMETER stop "<|im_end|>"\n'
    )
    gate = modelfile(tmp_path / "Modelfile", codec)
    assert (gate.verdict, gate.case) == ("refuse", "template")
    assert gate.evidence[0] == "5 messages"


def test_an_adapter_without_its_base(verify: Verify, tmp_path: Path, good: Path) -> None:
    from kitae.core.errors import InputError

    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": None}))
    with pytest.raises(InputError) as told:
        verify(folder)
    assert told.value.kind == "adapter-base" and "None" not in str(told.value)


def test_only_what_is_wanted_is_measured(verify: Verify, good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kitae.verify import exam

    monkeypatch.setattr(exam, "observe", None)
    assert verify(good, only=("merge.complete", "chat.stop-tokens"))["verdict"] == "ship"


def test_a_model_without_a_template_is_verified_without_one(verify: Verify, good: Path, copy: Path, tmp_path: Path) -> None:
    (copy / "chat_template.jinja").unlink()
    alone = verify(copy)
    assert alone["verdict"] == "ship" and alone["chat.stop-tokens"].case == "no-template"
    other = tmp_path / "other"
    shutil.copytree(copy, other)
    assert verify(other, copy)["verdict"] == "ship"
    edit(other / "config.json", lambda value: value.update(rms_norm_eps=0.5))
    assert refused(verify(other, copy)) == {"merge.equivalent": "differs"}


def test_what_only_a_run_could_be_asked_is_named(good: Path, copy: Path, verify: Verify) -> None:
    found = verify(copy, good)
    assert found["verdict"] == "ship"
    assert {name: found[name].case for name in ("hf.stops", "hf.loops", "hf.task")} == dict.fromkeys(
        ("hf.stops", "hf.loops", "hf.task"), "no-run"
    )
