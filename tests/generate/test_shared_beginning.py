"""What prompts and rows begin with is read once; nothing else may change by that."""

from __future__ import annotations

import numpy as np
import pytest
from tests.conftest import Tiny

from kitae.chat import Message
from kitae.generate import Settings, complete, open_engine
from kitae.generate.engine import Engine, Part
from kitae.generate.prefix import common_prefix
from kitae.models import Target, starter_file

TEXTS = ("one", "a longer one, with more to read", "two")


@pytest.fixture(scope="module", params=["torch", "llama.cpp"])
def engine(request: pytest.FixtureRequest, tiny_llama: Tiny) -> Engine:
    return open_engine(Target(tiny_llama() if request.param == "torch" else starter_file()))


def prompts(engine: Engine) -> list[list[int]]:
    return [list(engine.codec.prompt([Message("system", "Be brief."), Message("user", text)])) for text in TEXTS]


def test_prompts_together_say_what_each_says_alone(engine: Engine) -> None:
    asked = prompts(engine)
    assert common_prefix(asked) > 5
    settings = Settings(max_tokens=6)
    assert complete(engine, asked, settings) == [complete(engine, [each], settings)[0] for each in asked]


def test_first_and_second_tokens_have_the_probabilities_that_they_have_alone(engine: Engine) -> None:
    asked = prompts(engine)
    decoder = engine.open(3, 100)
    try:
        for number, prompt in enumerate(asked):
            decoder.begin(number, prompt)
        first = decoder.read([Part(number, prompt) for number, prompt in enumerate(asked)]).copy()
        tokens = first.argmax(1).tolist()
        second = decoder.read([Part(number, [token]) for number, token in enumerate(tokens)]).copy()
    finally:
        decoder.close()
    for number, (prompt, token) in enumerate(zip(asked, tokens, strict=True)):
        alone = engine.logits([*prompt, token, token], len(prompt) - 1)
        np.testing.assert_allclose([first[number], second[number]], alone, atol=1e-4)


def test_a_row_does_not_depend_on_the_one_before(engine: Engine) -> None:
    """Nor on how far the one before goes, or on where its own answer begins."""
    rows = prompts(engine)
    fresh = [_alone(engine, row) for row in rows]
    for order in ((0, 1, 2), (2, 1, 0), (1, 1, 0)):
        for number in order:
            np.testing.assert_allclose(engine.logits(rows[number], 3), fresh[number], atol=2e-3)
    np.testing.assert_allclose(engine.logits(rows[0], 0)[3:], fresh[0], atol=2e-3)


def _alone(engine: Engine, row: list[int]) -> np.ndarray:
    engine.logits([row[-1]] * 4, 0)  # begins with nothing that the row begins with
    return engine.logits(row, 3)


def test_common_prefix() -> None:
    assert common_prefix([[1, 2, 3], [1, 2, 4]]) == 2
    assert common_prefix([[1, 2], [1, 2]]) == 1, "something has to be left to predict from"
    assert common_prefix([[1], [2, 3]]) == 0
    assert common_prefix([[], [1]]) == 0
