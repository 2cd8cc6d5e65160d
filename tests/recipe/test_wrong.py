"""A value of the wrong kind is named in the reader's language, wherever in a recipe it stands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from kitae.core.i18n import set_language
from kitae.recipe import Recipe, in_words
from kitae.recipe.load import _models_in
from kitae.recipe.wrong import KINDS

VALUES = ("x", "", "é" * 5000, -1, -1.5, 0, 1.5, 10**30, float("nan"), True, None, [], {}, [1], ["a"], [{}], {"a": 1}, [[[]]])


def errors() -> Iterator[ErrorDetails]:
    """Each key of the schema with each value."""

    def of(path: list[str], model: type[BaseModel]) -> Iterator[ErrorDetails]:
        for name, field in model.model_fields.items():
            for value in VALUES:
                raw: Any = {name: value}
                for key in reversed(path):
                    raw = {key: raw}
                with pytest.raises(ValidationError) as caught:  # a recipe's name is missing, at least
                    Recipe.model_validate(raw)
                yield from caught.value.errors()
            for inner in _models_in(field.annotation):
                yield from of([*path, name], inner)

    yield from of([], Recipe)


def test_every_kind_of_mistake_has_a_sentence() -> None:
    set_language("ja")
    try:
        met = {error["type"]: in_words(error) for error in errors()}
    finally:
        set_language(None)
    assert set(met) - set(KINDS) == {"missing", "extra_forbidden"}  # which `load` explains with what else there is
    assert set(KINDS) == set(met) - {"missing", "extra_forbidden"}
    assert all(not met[kind].isascii() for kind in KINDS)


@pytest.mark.parametrize(
    ("train", "said"),
    [
        ({"epochs": 0}, "must be at least 1."),
        ({"learning_rate": 2.0}, "must be less than 1."),
        ({"method": "lor"}, "must be one of: lora, "),
        ({"warmup": "some"}, "must be a number."),
    ],
)
def test_the_limit_is_named(train: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Recipe.model_validate({"name": "a", "data": {"train": [{"path": "a"}]}, "train": train})
    assert any(in_words(error).startswith(said) for error in caught.value.errors())
