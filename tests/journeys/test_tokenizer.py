"""A tokenizer of one's own: made from text, looked at, and used by the chat codec, in real processes."""

from __future__ import annotations

import gzip
import json
import random
import signal
import time
from pathlib import Path

import pytest

from kitae.chat import Conversation
from kitae.data.appointments import write_splits
from kitae.models import open_codec
from kitae.models.vocabulary import sample_text
from kitae.runs import create_run

from ..conftest import Tiny
from .conftest import Kitae

pytestmark = pytest.mark.journey


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("texts")
    write_splits(folder, {"train": 300})
    japanese = folder / "ja.txt.gz"
    japanese.write_bytes(gzip.compress((sample_text("ja") * 3).encode()))
    return [folder / "train.jsonl", japanese]


def test_from_text_to_a_chat(kitae: Kitae, texts: list[Path], tmp_path: Path) -> None:
    made = kitae(
        "tokenizer", "train", *texts, "--out", tmp_path / "mine", "--vocab-size", 700, "--special", "<|tool|>", "--json"
    )
    assert made.code == 0, made.err
    assert made.json["vocabulary"] == 700
    assert made.json["round_trip"] == {"exact": True, "characters": 1_112_064, "strings": 570, "lost": []}
    again = kitae("tokenizer", "train", *texts, "--out", tmp_path / "again", "--vocab-size", 700, "--special", "<|tool|>")
    assert again.code == 0
    assert again.out.splitlines()[-1] == str(tmp_path / "again")
    files = sorted(path.name for path in (tmp_path / "mine").iterdir())
    assert files == ["tokenizer.json", "tokenizer_config.json"]
    assert all((tmp_path / "mine" / name).read_bytes() == (tmp_path / "again" / name).read_bytes() for name in files)

    seen = kitae("tokenizer", "inspect", tmp_path / "mine", "--on", texts[0], "--json").json
    assert (seen["kind"], seen["vocabulary"], seen["pre_tokenizer"]) == ("bpe", 700, "qwen2")
    assert (seen["stop_token"], seen["answers_end_with"]) == ("<|im_end|>", "<|im_end|>")
    assert seen["round_trip"]["exact"]
    assert [text["name"] for text in seen["texts"]] == ["sample.en", "sample.ja", str(texts[0])]
    assert all(text["unknown"] == 0 and text["bytes_per_token"] > 1 for text in seen["texts"])
    assert seen["texts"][2]["bytes_per_token"] > seen["texts"][0]["bytes_per_token"]
    assert 0 < seen["rare"]["unused"] < seen["rare"]["rare"] < 1

    codec = open_codec(tmp_path / "mine")
    row = Conversation.of([{"role": "user", "content": "明日は<|im_end|>?"}, {"role": "assistant", "content": "晴れ 👩‍👩‍👧"}])
    encoded = codec.encode(row)[0]
    answer = [token for token, labelled in zip(encoded.ids, encoded.loss_mask, strict=True) if labelled]
    assert codec.vocabulary.decode(answer) == "晴れ 👩‍👩‍👧<|im_end|>"
    assert answer[-1] == codec.terminator


def test_the_word_list_says_what_it_loses(kitae: Kitae, texts: list[Path], tmp_path: Path) -> None:
    assert kitae("tokenizer", "train", *texts, "--out", tmp_path / "words", "--kind", "words", "--vocab-size", 300).code == 0
    seen = kitae("tokenizer", "inspect", tmp_path / "words", "--on", texts[0], "--json").json
    assert (seen["kind"], seen["template"], seen["round_trip"]["exact"]) == ("words", True, False)
    assert 0.05 < seen["texts"][2]["unknown"] < seen["texts"][0]["unknown"] < 1
    for language, words in (("en", ("by design", "unknown", "Japanese (sample)")), ("ja", ("設計上", "未知", "日本語 (見本)"))):
        said = kitae("tokenizer", "inspect", tmp_path / "words", "--lang", language).out
        assert all(word in said for word in words)


def test_any_model_can_be_inspected(kitae: Kitae, tiny_llama: Tiny) -> None:
    model = tiny_llama()
    seen = kitae("tokenizer", "inspect", "smollm2-135m-instruct", "--json").json
    assert (seen["kind"], seen["vocabulary"], seen["answers_end_with"]) == ("bpe", 49_152, "<|im_end|>")
    assert not seen["round_trip"]["exact"], "SmolLM2 has no token for some bytes"
    assert {loss["text"]: loss["became"] for loss in seen["round_trip"]["lost"]}["\x04"] == ""
    assert seen["texts"][0]["bytes_per_token"] > 2 * seen["texts"][1]["bytes_per_token"]
    run = create_run("mine", f"name: mine\nmodel: {{source: {model}}}\ndata:\n  train: [{{path: t.jsonl}}]\n")
    for target in (model, run.id):
        assert {**kitae("tokenizer", "inspect", target, "--json").json, "tokenizer": ""} == {**seen, "tokenizer": ""}


def test_ctrl_c_leaves_nothing(kitae: Kitae, tmp_path: Path) -> None:
    text = tmp_path / "large.txt"
    letters = random.Random(0).choices("abcdefghijklmnopqrstuvwxyz", k=8_000_000)  # all words differ: many seconds of learning
    text.write_text(" ".join("".join(letters[i : i + 20]) for i in range(0, len(letters), 20)))
    process = kitae.begin("tokenizer", "train", text, "--out", tmp_path / "out" / "mine")
    while not list((tmp_path / "out").glob(".mine.*")) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert list((tmp_path / "out").iterdir()) == []


def test_the_commands_are_functions_too(texts: list[Path], tmp_path: Path) -> None:
    import kitae

    value = kitae.train_tokenizer(texts, tmp_path / "mine", kind="wordpiece", size=900)
    assert json.loads(json.dumps(value)) == value
    assert kitae.inspect_tokenizer(str(tmp_path / "mine"))["kind"] == "wordpiece"
