"""A model's codec without a large library, for commands that answer at once: from `tokenizer.json` or a GGUF file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from kitae.chat import ChatCodec, ChatTemplate, Vocabulary, template_text
from kitae.core.errors import InputError, first_line
from kitae.core.files import JsonDict, read_json, read_text
from kitae.models.source import STARTERS, starter_path

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from kitae.models.llama import LlamaModel


class FileVocabulary:
    """Of `tokenizer.json`."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._control = {token.content: i for i, token in tokenizer.get_added_tokens_decoder().items() if token.special}

    @property
    def size(self) -> int:
        return int(self._tokenizer.get_vocab_size())

    @property
    def control(self) -> dict[str, int]:
        return self._control

    def encode(self, text: str, parse_control: bool = True) -> list[int]:
        self._tokenizer.encode_special_tokens = not parse_control
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Of many texts, in threads."""
        self._tokenizer.encode_special_tokens = True
        return [len(encoding) for encoding in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)]

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))


def light_codec(source: str, template_file: str | None = None) -> ChatCodec | None:
    """None for what is not on this disk yet, or has no `tokenizer.json`."""
    path = starter_path() if source in STARTERS else Path(source).expanduser()
    if path.suffix == ".gguf" and path.is_file():
        return _of_gguf(path, template_file)
    return _of_folder(path, template_file) if (path / "tokenizer.json").is_file() else None


@dataclass(frozen=True)
class TokenCounter:
    """Counts by a model's own tokenizer, which each process opens for itself."""

    source: str  # a folder with tokenizer.json, or a GGUF file

    def __call__(self, texts: Sequence[str]) -> list[int]:
        vocabulary = light_vocabulary(self.source)
        if isinstance(vocabulary, FileVocabulary):
            return vocabulary.lengths(texts)
        return [len(vocabulary.encode(text, parse_control=False)) for text in texts]


@lru_cache(maxsize=1)
def light_vocabulary(source: str) -> Vocabulary:
    path = Path(source)
    return _open_gguf(path).vocabulary if path.is_file() else FileVocabulary(_tokenizer(path))


def _of_folder(folder: Path, template_file: str | None) -> ChatCodec:
    said: JsonDict = read_json(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").exists() else {}
    own = folder / "chat_template.jinja"
    template = read_text(own) if own.exists() else said.get("chat_template")
    names = ("bos_token", "eos_token", "pad_token", "unk_token")
    texts = {name: value["content"] if isinstance(value, dict) else value for name in names if (value := said.get(name))}
    return ChatCodec(FileVocabulary(_tokenizer(folder)), _template(template, texts, folder, template_file))


def _tokenizer(folder: Path) -> Tokenizer:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # tokenizers raises plain exceptions
        raise InputError("tokenizer-unreadable", where=str(folder / "tokenizer.json"), why=first_line(error)) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _of_gguf(path: Path, template_file: str | None) -> ChatCodec:
    model = _open_gguf(path)
    return ChatCodec(model.vocabulary, _template(model.facts["chat_template"], model.control_texts, path, template_file))


def _open_gguf(path: Path) -> LlamaModel:
    from kitae.models.llama import LlamaModel

    return LlamaModel(path, vocab_only=True)  # open as long as its vocabulary is read


def _template(own: object, texts: dict[str, str], where: Path, template_file: str | None) -> ChatTemplate:
    if template_file is not None:
        return ChatTemplate(template_text(template_file), texts, template_file)
    if not isinstance(own, str) or not own:
        raise InputError("template-missing", where=str(where))
    return ChatTemplate(own, texts, str(where))
