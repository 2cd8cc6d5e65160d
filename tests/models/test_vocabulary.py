"""New vocabularies: nothing is lost, text stays text, the same text gives the same bytes, and what can't be is said."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
import tracemalloc
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from corpus import corpus
from hypothesis import given, settings, strategies as st
from tests.machine_speed import slowness
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from kitae.chat import ChatCodec, Conversation, HfVocabulary
from kitae.core.errors import InputError
from kitae.models import open_codec, open_tokenizer
from kitae.models.pre_tokenizers import PRE_TOKENIZERS
from kitae.models.vocabulary import KINDS, Order, RoundTrip, Sample, check_specials, made_here, make_vocabulary, round_trip
from kitae.models.vocabulary.proof import hard_strings
from kitae.models.vocabulary.trainers import train

LOSSLESS = [kind for kind in KINDS if kind != "words"]
SIZE = 1200
CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>", "<|tool|>")


def sampled(texts: list[str]) -> Sample:
    sample = Sample(1 << 30)
    for text in texts:
        sample.add(text)
    return sample


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = {}
    for kind in LOSSLESS:
        folders[kind] = tmp_path_factory.mktemp(kind)
        proof = make_vocabulary(Order.of(kind, SIZE, None, ["<|tool|>"]), sampled(corpus()), folders[kind])
        assert (proof.exact, proof.characters) == (True, 0x110000 - 0x800)
    return folders


@pytest.fixture(scope="module")
def codecs(made: dict[str, Path]) -> dict[str, ChatCodec]:
    return {kind: open_codec(folder) for kind, folder in made.items()}


@pytest.mark.parametrize("kind", LOSSLESS)
def test_size_and_special_tokens(codecs: dict[str, ChatCodec], kind: str) -> None:
    vocabulary = codecs[kind].vocabulary
    tokenizer = vocabulary.tokenizer
    assert vocabulary.size == len(tokenizer.get_vocab()) == SIZE
    assert vocabulary.control == {text: SIZE - len(CONTROL) + i for i, text in enumerate(CONTROL)}
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|pad|>")
    assert set(tokenizer.all_special_tokens) == set(CONTROL)
    assert tokenizer("a")["input_ids"] == vocabulary.encode("a")
    assert codecs[kind].terminator == tokenizer.eos_token_id


@pytest.mark.parametrize("kind", LOSSLESS)
def test_the_template_is_chatml(codecs: dict[str, ChatCodec], kind: str) -> None:
    rows = [{"role": "system", "content": " s "}, {"role": "user", "content": "u\n"}, {"role": "assistant", "content": "a"}]
    wanted = "<|im_start|>system\n s <|im_end|>\n<|im_start|>user\nu\n<|im_end|>\n<|im_start|>assistant\n"
    tokenizer = codecs[kind].vocabulary.tokenizer
    assert tokenizer.apply_chat_template(rows[:2], tokenize=False, add_generation_prompt=True) == wanted
    messages = Conversation.of(rows).messages
    assert codecs[kind].template.render(messages) == tokenizer.apply_chat_template(rows, tokenize=False)
    assert codecs[kind].vocabulary.decode(codecs[kind].prompt(messages[:2])) == wanted
    assert codecs[kind].template.default_system() == "<|im_start|>user\n"


@pytest.mark.parametrize("kind", LOSSLESS)
def test_text_that_spells_a_special_token_stays_text(codecs: dict[str, ChatCodec], kind: str) -> None:
    codec = codecs[kind]
    vocabulary = codec.vocabulary
    control = set(vocabulary.control.values())
    for text in CONTROL:  # the corpus has two of them in every paragraph
        ids = vocabulary.encode(f"a {text}b", parse_control=False)
        assert control.isdisjoint(ids)
        assert vocabulary.decode(ids) == f"a {text}b"
        assert vocabulary.encode(text) == [vocabulary.control[text]]
    row = Conversation.of([{"role": "user", "content": "say <|im_end|>"}, {"role": "assistant", "content": "<|im_start|>"}])
    encoded = codec.encode(row)[0]
    assert [i for i in encoded.ids if i in control] == [vocabulary.control[f"<|im_{end}|>"] for end in ("start", "end") * 2]
    assert vocabulary.decode(encoded.ids) == codec.template.render(row.messages)


@pytest.mark.parametrize("kind", LOSSLESS)
@settings(max_examples=100, deadline=None)
@given(st.text(max_size=80))
def test_any_text_comes_back(codecs: dict[str, ChatCodec], kind: str, text: str) -> None:
    vocabulary = codecs[kind].vocabulary
    assert vocabulary.decode(vocabulary.encode(text, parse_control=False)) == text


@pytest.mark.parametrize("kind", LOSSLESS)
def test_saving_keeps_everything(made: dict[str, Path], kind: str, tmp_path: Path) -> None:
    open_tokenizer(made[kind]).save_pretrained(tmp_path)
    again = HfVocabulary(open_tokenizer(tmp_path))
    first = HfVocabulary(open_tokenizer(made[kind]))
    assert all(again.encode(text) == first.encode(text) for text in hard_strings())
    assert (again.control, open_codec(tmp_path).template.source) == (first.control, open_codec(made[kind]).template.source)
    assert made_here(tmp_path) == made_here(made[kind]) == {"kind": kind, "llama_cpp_pre": "qwen2" if kind == "bpe" else None}


def test_whole_words_of_llama_bpe_need_no_merges() -> None:
    for pre in PRE_TOKENIZERS:
        model = json.loads(train(Order.of("bpe", 300, pre, []), corpus()).to_str())["model"]
        assert model["ignore_merges"] is (pre == "llama-bpe")


TRAIN = """\
import sys
sys.path.insert(0, sys.argv[1])
from corpus import corpus
from kitae.models.vocabulary import Order
from kitae.models.vocabulary.trainers import train
texts = [*corpus(), *(f"{a}{b}{c}" for a in "abcdefgh" for b in "ijklmnop" for c in "qrstuvwx")]
if sys.argv[2] == "back":
    texts.reverse()
for kind, size in (("bpe", 1200), ("unigram", 1200), ("wordpiece", 1200), ("words", 600)):
    print(train(Order.of(kind, size, None, []), texts).to_str())
"""


@pytest.mark.slow(10)
def test_the_same_text_gives_the_same_bytes() -> None:
    """In other processes, with other hash seeds and thread counts, and whatever order the texts come in."""

    def digests(order: str, seed: str, threads: str) -> list[str]:
        environment = {"PYTHONHASHSEED": seed, "RAYON_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "true"}
        command = [sys.executable, "-c", TRAIN, str(Path(__file__).parent), order]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **environment})
        return [hashlib.sha256(line.encode()).hexdigest() for line in done.stdout.splitlines()]

    first = digests("forth", "1", "1")
    assert len(first) == 4
    assert digests("forth", "2", "2") == first
    assert digests("back", "3", "3") == first


def test_the_word_list_of_the_old_claim(tmp_path: Path) -> None:
    texts = [*corpus(), "<eos> <eos> <eos> <unk>", *(f"w{i % 900} " for i in range(3000))]
    proof = make_vocabulary(Order.of("words", None, None, []), sampled(texts), tmp_path)
    assert not proof.exact
    vocabulary = HfVocabulary(open_tokenizer(tmp_path))
    counts = Counter(word for text in dict.fromkeys(texts) for word in text.lower().split())
    wanted = sorted((-count, word) for word, count in counts.items() if word not in ("<eos>", "<unk>"))[:996]
    assert set(vocabulary.tokenizer.get_vocab()) == {word for _, word in wanted} | {"<pad>", "<unk>", "<bos>", "<eos>"}
    assert vocabulary.size == 1000
    unknown = vocabulary.tokenizer.unk_token_id
    assert vocabulary.encode("The  MODEL never-seen-word") == [
        *(vocabulary.tokenizer.convert_tokens_to_ids(word) for word in ("the", "model")),
        unknown,
    ]
    assert vocabulary.encode("<eos>", parse_control=False) == [unknown]
    assert vocabulary.tokenizer.eos_token == "<eos>"


def letters_only(without: str = "") -> Tokenizer:
    letters = sorted(set(pre_tokenizers.ByteLevel.alphabet()) - set(without))
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return tokenizer


def proven(tokenizer: Tokenizer) -> RoundTrip:
    return round_trip(HfVocabulary(PreTrainedTokenizerFast(tokenizer_object=tokenizer)))


@pytest.mark.parametrize("normalizer", [normalizers.Lowercase(), normalizers.NFC(), normalizers.Replace("\u2581", " ")])
def test_what_is_lost_is_found(normalizer: normalizers.Normalizer) -> None:
    tokenizer = letters_only()
    tokenizer.normalizer = normalizer
    found = proven(tokenizer)
    assert not found.exact
    assert all(normalizer.normalize_str(text) == became != text for text, became in found.lost)
    assert all(len(text) < 10 for text, _ in found.lost)


def test_a_letter_that_is_missing_is_found() -> None:
    assert proven(letters_only()) == RoundTrip(0x110000 - 0x800, len(list(hard_strings())), [])
    found = proven(letters_only(without="ó"))  # the byte F3, with which characters of planes 12 to 15 begin
    assert all(0xC0000 <= ord(text) < 0x100000 for text, _ in found.lost)


@pytest.mark.parametrize(
    ("ordered", "kind"),
    [
        (("nope", None, None, []), "vocabulary-kind"),
        (("bpe", None, "nope", []), "vocabulary-pre"),
        (("unigram", None, "qwen2", []), "vocabulary-pre-unused"),
        (("bpe", 259, None, []), "vocabulary-size"),
        (("bpe", 260, None, ["<|x|>"]), "vocabulary-size"),
        (("unigram", 515, None, []), "vocabulary-size"),
        (("words", 4, None, []), "vocabulary-size"),
        (("bpe", 10**9, None, []), "vocabulary-size"),
        (("bpe", None, None, [""]), "vocabulary-special"),
        (("bpe", None, None, [" <|x|>"]), "vocabulary-special"),
        (("bpe", None, None, ["\udcff"]), "vocabulary-special"),
        (("bpe", None, None, ["PAD"]), "vocabulary-special"),
        (("unigram", None, None, ["制御"]), "vocabulary-special"),
        (("wordpiece", None, None, ["###"]), "vocabulary-special"),
    ],
)
def test_what_cannot_be_ordered(ordered: tuple[str, int | None, str | None, list[str]], kind: str) -> None:
    with pytest.raises(InputError) as refused:
        check_specials(Order.of(*ordered))
    assert (refused.value.kind, refused.value.exit_code) == (kind, 2)


@pytest.mark.parametrize(("kind", "special"), [("bpe", "<|é|>"), ("wordpiece", "<|＃＃|>")])
def test_special_tokens_that_would_not_come_back(kind: str, special: str, tmp_path: Path) -> None:
    order = Order.of(kind, 700, None, [special])
    check_specials(order)
    with pytest.raises(InputError) as refused:
        make_vocabulary(order, sampled(corpus()), tmp_path)
    assert (refused.value.kind, refused.value.where) == ("vocabulary-special", special)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", ["too short to fill a vocabulary", "\0", "短い"])
def test_text_that_is_not_enough(kind: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        make_vocabulary(Order.of(kind, 5000, None, []), sampled([text]), tmp_path)
    assert refused.value.kind in ("vocabulary-unfilled", "vocabulary-text")
    if refused.value.kind == "vocabulary-unfilled":
        assert str(refused.value.fields["count"]) in refused.value.fix
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", LOSSLESS)
def test_endless_words_take_no_endless_time(kind: str) -> None:
    """BPE took 3 s for a word of 32,000 equal letters, and 16 times as long for four times as many."""
    started = time.process_time()
    train(Order.of(kind, 700, None, []), [*corpus(), "x" * 300_000, " " * 300_000, "日" * 300_000])
    assert time.process_time() - started < 20 * slowness()


def test_too_little_memory_is_told_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=30_000_000))
    japanese, english = sampled(["日本語の長い文" + "書" * 1_000_000]), sampled(["x" * 3_000_000])
    with pytest.raises(InputError) as refused:
        make_vocabulary(Order.of("bpe", 300, None, []), japanese, tmp_path)
    assert refused.value.kind == "vocabulary-memory"
    assert refused.value.fields["needed"] == 60 * japanese.bytes_kept // 1_000_000
    with pytest.raises(InputError) as refused:
        make_vocabulary(Order.of("bpe", 5000, None, []), english, tmp_path)
    assert refused.value.kind != "vocabulary-memory"


def test_a_sample_is_even_bounded_and_always_the_same() -> None:
    def drawn(limit: int) -> Sample:
        sample = Sample(limit)
        for i in range(20_000):
            sample.add(f"{i:06d}")
            sample.add("the same system message")
        return sample

    sample = drawn(30_000)
    assert (sample.texts_seen, sample.bytes_seen) == (40_000, 20_000 * (6 + 23))
    assert 29_000 < sample.bytes_kept <= 30_000
    kept = [int(text) for text in sample if text.isdigit()]
    assert len(kept) >= len(sample) - 1
    assert kept == sorted(kept)
    quarters = Counter(i // 5000 for i in kept)
    assert all(1100 < quarters[quarter] < 1400 for quarter in range(4))
    assert list(drawn(30_000)) == list(sample)
    assert len(list(drawn(1 << 30))) == 20_001


def test_a_text_larger_than_the_sample_is_kept() -> None:
    sample = Sample(10)
    for text in ("x" * 100, "y" * 100):
        sample.add(text)
    assert len(sample) == 1


def test_memory_does_not_grow_with_the_text() -> None:
    tracemalloc.start()
    try:
        sample = Sample(500_000)
        for i in range(200_000):
            sample.add(f"line {i * 7919} of a file that is larger than what is kept of it")
        assert sample.bytes_seen > 10_000_000
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()
