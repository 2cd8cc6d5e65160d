"""Chat templates of real model families, and tokenizers of other families than the starter's, made on the spot."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from kitae.chat import ChatCodec, ChatTemplate, HfVocabulary

MISTRAL = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] + eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported') }}{% endif %}{% endfor %}"
)

ZEPHYR = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] + eos_token + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)


def _as_written(content: str) -> str:
    return content


def _no_thought(content: str) -> str:
    return "<think>\n\n</think>\n\n" + content.lstrip("\n")


@dataclass(frozen=True)
class Family:
    """What a template is known to do, written down by hand so that the codec is not asked about itself."""

    name: str
    terminator: str
    specials: tuple[str, ...]
    answer: Callable[[str], str] = _as_written  # what stands in the rendering behind the prompt, for an answer
    system: bool = True
    rewrites: bool = False  # earlier turns are rendered differently from the last
    source: str | None = None
    bos: str = ""
    split: str = ""  # the family's own way to cut text into words, where its template counts on it

    def template(self) -> ChatTemplate:
        named = {"eos_token": self.terminator if self.name != "phi3" else "<|endoftext|>"}
        if self.bos:
            named["bos_token"] = self.bos
        return ChatTemplate(self.source or _shipped_with_trl(self.name), named, self.name)

    def codec(self, tokenizer: PreTrainedTokenizerBase) -> ChatCodec:
        own = with_specials(tokenizer, self.specials)
        if self.split:
            split = pre_tokenizers.Split(Regex(self.split), "isolated")
            byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
            own.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
        return ChatCodec(HfVocabulary(own), self.template())


_CHATML = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
_LLAMA = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
_LLAMA_WORDS = (  # unlike GPT-2's, it keeps line ends together whatever follows them
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_GEMMA = ("<bos>", "<start_of_turn>", "<end_of_turn>")

FAMILIES = (
    Family("qwen2_5", "<|im_end|>", _CHATML),
    Family("qwen3", "<|im_end|>", _CHATML, _no_thought, rewrites=True),
    Family("qwen3_instruct_2507", "<|im_end|>", _CHATML),
    Family("qwen3_5_think", "<|im_end|>", _CHATML, lambda c: "\n</think>\n\n" + c.strip(), rewrites=True),
    Family("qwen3_5_nothink", "<|im_end|>", _CHATML, str.strip, rewrites=True),
    Family("llama3", "<|eot_id|>", _LLAMA, str.strip, bos="<|begin_of_text|>", split=_LLAMA_WORDS),
    Family("llama3_2", "<|eot_id|>", _LLAMA, str.strip, bos="<|begin_of_text|>", split=_LLAMA_WORDS),
    Family("gemma", "<end_of_turn>", _GEMMA, str.strip, system=False, bos="<bos>"),
    Family("gemma3", "<end_of_turn>", _GEMMA, str.strip, bos="<bos>"),
    Family(
        "phi3",
        "<|end|>",
        ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|endoftext|>"),
        rewrites=True,  # it writes <|endoftext|> behind the last turn
    ),
    Family("mistral", "</s>", ("<s>", "</s>", "[INST]", "[/INST]"), lambda c: " " + c, False, source=MISTRAL, bos="<s>"),
    Family("zephyr", "</s>", ("<s>", "</s>"), source=ZEPHYR),
)
BY_NAME = {family.name: family for family in FAMILIES}


def _shipped_with_trl(name: str) -> str:
    """TRL's own copy of a template, without the seconds that importing TRL takes."""
    spec = find_spec("trl")
    assert spec is not None and spec.submodule_search_locations is not None
    return (Path(spec.submodule_search_locations[0]) / "chat_templates" / f"{name}.jinja").read_text(encoding="utf-8")


def with_specials(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> PreTrainedTokenizerBase:
    own = copy.deepcopy(tokenizer)
    own.add_tokens(list(texts), special_tokens=True)
    return own


_CORPUS = ("the cat sat on the mat. hello world, how are you?", "日本語の文章です。こんにちは。", "answer\n\nanswer\n\n") * 20
_BYTES = [f"<0x{i:02X}>" for i in range(256)]
_SPECIALS = ["<unk>", "<s>", "</s>"]


def _fast(tokenizer: Tokenizer) -> PreTrainedTokenizerBase:
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


def byte_level() -> PreTrainedTokenizerBase:
    """GPT-2's family, without its split at line ends: merges cross "\\n\\n" wherever it stands."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=_SPECIALS, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(_CORPUS, trainer)
    return _fast(tokenizer)


def _sentencepiece(model: models.Model, trainer: trainers.Trainer) -> PreTrainedTokenizerBase:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    metaspace = decoders.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), metaspace])
    tokenizer.train_from_iterator(_CORPUS, trainer)
    trained = json.loads(tokenizer.to_str())
    trained["model"]["byte_fallback"] = True
    trained["added_tokens"] = [token for token in trained["added_tokens"] if token["content"] not in _BYTES]
    return _fast(Tokenizer.from_str(json.dumps(trained)))


def sentencepiece_unigram() -> PreTrainedTokenizerBase:
    """T5's and llm-jp's family. Its model holds the control texts themselves, and finds them without being told to."""
    trainer = trainers.UnigramTrainer(vocab_size=400, special_tokens=_SPECIALS + _BYTES, unk_token="<unk>", show_progress=False)
    return _sentencepiece(models.Unigram(), trainer)


def sentencepiece_bpe() -> PreTrainedTokenizerBase:
    """Llama 2's and Mistral's family: a space is put before the first word, but not behind a control token."""
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=_SPECIALS + _BYTES, show_progress=False)
    return _sentencepiece(models.BPE(unk_token="<unk>"), trainer)
