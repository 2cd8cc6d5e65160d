"""A model's codec without a large library, for commands that answer at once: from `tokenizer.json` or a GGUF file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kitae.chat import ChatCodec, ChatTemplate, template_text
from kitae.errors import InputError, first_line
from kitae.files import JsonDict, read_json, read_text
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

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))


def light_codec(source: str, template_file: str | None = None) -> ChatCodec | None:
    """None for what is not on this disk yet, or has no `tokenizer.json`."""
    path = starter_path() if source in STARTERS else Path(source).expanduser()
    if path.suffix == ".gguf" and path.is_file():
        return _of_gguf(path, template_file)
    return _of_folder(path, template_file) if (path / "tokenizer.json").is_file() else None


def _of_folder(folder: Path, template_file: str | None) -> ChatCodec:
    from tokenizers import Tokenizer

    said: JsonDict = read_json(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").exists() else {}
    own = folder / "chat_template.jinja"
    template = read_text(own) if own.exists() else said.get("chat_template")
    names = ("bos_token", "eos_token", "pad_token", "unk_token")
    texts = {name: value["content"] if isinstance(value, dict) else value for name in names if (value := said.get(name))}
    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # tokenizers raises plain exceptions
        raise InputError("tokenizer-unreadable", where=str(folder / "tokenizer.json"), why=first_line(error)) from error
    tokenizer.no_truncation()
    return ChatCodec(FileVocabulary(tokenizer), _template(template, texts, folder, template_file))


def _of_gguf(path: Path, template_file: str | None) -> ChatCodec:
    from kitae.models.llama import LlamaModel

    model: LlamaModel = LlamaModel(path, vocab_only=True)  # stays open as long as its vocabulary is read
    return ChatCodec(model.vocabulary, _template(model.facts["chat_template"], model.control_texts, path, template_file))


def _template(own: object, texts: dict[str, str], where: Path, template_file: str | None) -> ChatTemplate:
    if template_file is not None:
        return ChatTemplate(template_text(template_file), texts, template_file)
    if not isinstance(own, str) or not own:
        raise InputError("template-missing", where=str(where))
    return ChatTemplate(own, texts, str(where))
