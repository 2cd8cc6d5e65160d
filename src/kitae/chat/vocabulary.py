"""What chat/ needs of a tokenizer, whichever library it comes from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Vocabulary(Protocol):
    @property
    def size(self) -> int: ...

    @property
    def control(self) -> dict[str, int]:
        """The texts that become control tokens, and their ids."""
        ...

    def encode(self, text: str, parse_control: bool = True) -> list[int]:
        """Token ids without any token that the text does not name itself."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of the ids, control tokens included, nothing cleaned up."""
        ...


class HfVocabulary:
    """A `transformers` tokenizer with a Rust back end."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self._control = {token.content: index for index, token in tokenizer.added_tokens_decoder.items() if token.special}

    @property
    def size(self) -> int:
        return len(self.tokenizer)

    @property
    def control(self) -> dict[str, int]:
        return self._control

    def encode(self, text: str, parse_control: bool = True) -> list[int]:
        encoded = self.tokenizer(text, add_special_tokens=False, split_special_tokens=not parse_control, verbose=False)
        return list(encoded["input_ids"])

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))
