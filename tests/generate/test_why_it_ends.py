"""Why answers end: circles, time, a token or a function of the user's."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from tests.conftest import Tiny

from kitae.chat import Message
from kitae.generate import Engine, Settings, complete, open_engine
from kitae.generate.repetition import Circles
from kitae.models import Target


def ends_in_circles(tokens: list[int]) -> bool:
    """By the definition: for any length of a round, the end is three rounds and 24 tokens of it."""
    for period in range(1, 65):
        size = max(3 * period, 24)
        tail = tokens[-size:]
        if len(tail) == size and all(tail[i] == tail[i - period] for i in range(period, size)):
            return True
    return False


def test_circles_are_found_when_they_close() -> None:
    for number in range(1000):
        random = np.random.default_rng(number)
        tokens = random.integers(0, 3, int(random.integers(0, 20))).tolist()
        tokens += random.integers(0, 5, int(random.integers(1, 40))).tolist() * int(random.integers(1, 6))
        circles = Circles()
        assert [circles.goes_on(token) for token in tokens] == [ends_in_circles(tokens[: i + 1]) for i in range(len(tokens))]


@pytest.fixture(scope="module")
def engine(tiny_llama: Tiny) -> Engine:
    return open_engine(Target(tiny_llama()))


def answer(engine: Engine, **changes: object) -> tuple[int, str]:
    settings = Settings(**{"max_tokens": 200, **changes})  # type: ignore[arg-type]
    found = complete(engine, [engine.codec.prompt([Message("user", "Hello")])], settings)[0]
    return len(found.tokens), found.finish


def test_the_reason_says_which(engine: Engine) -> None:
    assert answer(engine, max_tokens=5) == (5, "length")
    first = complete(engine, [engine.codec.prompt([Message("user", "Hello")])], Settings(max_tokens=9))[0].tokens
    assert answer(engine, stop_tokens=(first[-1],)) == (first.index(first[-1]) + 1, "stop")
    seen: list[str] = []
    assert answer(engine, stop_when=lambda text: bool(seen.append(text)) or len(seen) == 4) == (4, "callable")
    assert all(after.startswith(before) for before, after in itertools.pairwise(seen))
    began = time.monotonic()
    tokens, why = answer(engine, max_seconds=0.05, bans=tuple(engine.stop_tokens), max_tokens=1500)
    assert (why, tokens < 1500) == ("time", True) and time.monotonic() - began < 5


def test_a_circle_ends_an_answer(engine: Engine) -> None:
    only = tuple(token for token in range(engine.codec.vocabulary.size) if token != 65)
    assert answer(engine, bans=only, stop_repeating=True) == (24, "repetition")
    assert answer(engine, bans=only, max_tokens=30) == (30, "length")
