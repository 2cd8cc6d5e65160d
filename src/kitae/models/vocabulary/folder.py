"""The folder of a tokenizer that was made here: what `transformers` opens, and what llama.cpp will have to be told."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kitae.chat import HfVocabulary
from kitae.core.errors import InputError, KitaeError
from kitae.core.files import JsonDict, read_json, read_text, write_json
from kitae.models.open import open_codec, open_tokenizer
from kitae.models.vocabulary.kinds import UNKNOWN, Order
from kitae.models.vocabulary.proof import RoundTrip, round_trip

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_OURS = "kitae"  # our key in tokenizer_config.json; transformers keeps keys that it doesn't know
_CONFIG = "tokenizer_config.json"
_TEMPLATE = Path(__file__).parent / "chatml.jinja"
_WORDS_TEMPLATE = "{% for message in messages %}{{ message['content'] }} <eos>{% endfor %}"
_CHAT_ROLES = {"eos_token": "<|im_end|>", "pad_token": "<|pad|>"}
_WORD_ROLES = {"bos_token": "<bos>", "eos_token": "<eos>", "unk_token": UNKNOWN, "pad_token": "<pad>"}


def add_specials(tokenizer: Tokenizer, order: Order) -> None:
    """Behind what was learned, and never part of it, so that no text can be merged into one of them."""
    from tokenizers import AddedToken

    taken = [text for text in order.specials if text != UNKNOWN and tokenizer.token_to_id(text) is not None]
    if taken:
        raise InputError("vocabulary-special", where=", ".join(taken))
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in order.specials])


def write_folder(tokenizer: Tokenizer, order: Order, folder: Path) -> None:
    (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=True) + "\n", encoding="utf-8")
    roles = _WORD_ROLES if order.kind == "words" else _CHAT_ROLES
    config: JsonDict = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "add_bos_token": False,  # llama.cpp adds one under some pre-tokenizer names unless it is told not to
        **roles,
        "additional_special_tokens": [text for text in order.specials if text not in roles.values()],
        _OURS: {"kind": order.kind, "llama_cpp_pre": order.pre},
    }
    config["chat_template"] = _WORDS_TEMPLATE if order.kind == "words" else read_text(_TEMPLATE)
    write_json(folder / _CONFIG, config)


def prove_folder(order: Order, folder: Path) -> RoundTrip:
    """Opens the folder as everything else will: control tokens stay whole, text stays text, and nothing is lost."""
    vocabulary = HfVocabulary(open_tokenizer(folder))
    control = vocabulary.control
    for text in order.specials:
        ids = vocabulary.encode(text)
        as_text = vocabulary.encode(text, parse_control=False)
        if ids != [control.get(text)] or vocabulary.decode(ids) != text or (order.lossless and ids == as_text):
            raise InputError("vocabulary-special", where=text, why=f"{ids} → {vocabulary.decode(ids)}")
    end = (_WORD_ROLES if order.kind == "words" else _CHAT_ROLES)["eos_token"]
    if open_codec(folder).terminator != control[end]:
        raise KitaeError("vocabulary-proof", where=str(folder), why=end)
    found = round_trip(vocabulary)
    if order.lossless and not found.exact:
        raise KitaeError("vocabulary-proof", where=str(folder), why=f"{found.lost[0][0]!r} → {found.lost[0][1]!r}")
    return found


def made_here(folder: Path) -> JsonDict:
    """What Kitae wrote about a tokenizer of its own: its kind, and llama.cpp's name of its pre-tokenizer."""
    path = folder / _CONFIG
    found = read_json(path).get(_OURS) if path.exists() else None
    return found if isinstance(found, dict) else {}
