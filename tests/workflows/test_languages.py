"""A tokenizer that spells a language byte by byte is told of before anything is trained."""

from __future__ import annotations

from kitae.chat import ChatCodec, Conversation
from kitae.data.spelled_languages import spelled_languages

ENGLISH = "The lamp by the river is lit at seven, and nobody knows who lights it."
JAPANESE = "川のそばの明かりは七時にともりますが、だれがともすのかは誰も知りません。"


def rows(*answers: str) -> list[Conversation]:
    return [Conversation.of([{"role": "user", "content": "?"}, {"role": "assistant", "content": text}]) for text in answers]


def test_languages_that_a_tokenizer_hardly_knows(codec: ChatCodec) -> None:
    assert spelled_languages(codec.vocabulary, rows(*[ENGLISH] * 10)) == {}
    assert set(spelled_languages(codec.vocabulary, rows(*[ENGLISH] * 10, *[JAPANESE] * 10))) == {"ja"}
    assert spelled_languages(codec.vocabulary, rows(*[ENGLISH] * 99, JAPANESE)) == {}
    assert spelled_languages(codec.vocabulary, []) == {}
