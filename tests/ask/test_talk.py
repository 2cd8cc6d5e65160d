"""A conversation that goes on: through Ctrl-C, beyond what fits, with its reasons at hand; and answers that are checked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tests.conftest import Tiny

from kitae.ask import Talk, checked_answer
from kitae.chat import Message
from kitae.core.errors import InputError, KitaeError
from kitae.generate import Completion, Engine, Settings, complete, open_engine
from kitae.models import Target, starter_file

SHORT = Settings(max_tokens=8)


@pytest.fixture(params=["torch", "llama.cpp"])
def engine(request: pytest.FixtureRequest, tiny_llama: Tiny) -> Engine:
    return open_engine(Target(tiny_llama(tokens=4096) if request.param == "torch" else starter_file()))


@pytest.fixture
def talk(engine: Engine) -> Iterator[Talk]:
    made = Talk(engine, [Message("system", "Be brief.")])
    yield made
    made.close()


def said(talk: Talk, text: str, settings: Settings = SHORT) -> str:
    return "".join(chunk.text for chunk in talk.say(text, settings))


def test_it_says_what_a_single_question_would(engine: Engine, talk: Talk) -> None:
    first = said(talk, "One?")
    messages = [Message("system", "Be brief."), Message("user", "One?")]
    assert first == complete(engine, [engine.codec.prompt(messages)], SHORT)[0].text
    messages += [Message("assistant", first), Message("user", "Two?")]
    assert said(talk, "Two?") == complete(engine, [engine.codec.prompt(messages)], SHORT)[0].text


@pytest.mark.parametrize("where", ["between tokens", "within a step"])
def test_a_ctrl_c_ends_an_answer_and_not_the_conversation(talk: Talk, where: str) -> None:
    answer = talk.say("One?", Settings(max_tokens=30, ignore_stops=True))
    for _ in range(4):
        next(answer)
    decoder = talk._scheduler._decoder
    if where == "between tokens":
        answer.close()  # type: ignore[attr-defined]
    else:
        read = decoder.read

        def stopped(parts: Any) -> Any:
            read(parts)
            raise KeyboardInterrupt

        decoder.read = stopped  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            next(answer)
        decoder.read = read  # type: ignore[method-assign]
    assert [message.role for message in talk.messages] == ["system", "user", "assistant"]
    assert said(talk, "Two?")
    assert len(talk.messages) == 5


def test_what_no_longer_fits_is_left_out_and_said_so(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talk._scheduler, "length", 200)
    left = []
    for number in range(6):
        said(talk, f"{number} " + "word " * 20)
        left.append(talk.left_out)
    assert left[0] == 0 and left[-1] > 0 and left == sorted(left)
    assert len(talk.messages) == 13


def test_why_ends_with_what_was_drawn_from(talk: Talk) -> None:
    settings = Settings(max_tokens=6, temperature=0.8, top_k=5, top_p=0.9, repetition_penalty=1.3, bans=(7,), seed=1)
    said(talk, "One?", settings)
    stages = talk.why(1)
    assert [stage.name for stage in stages] == ["model", "repetition", "bans", "temperature", "top-k", "top-p"]
    assert all(stage.probabilities.sum() == pytest.approx(1) for stage in stages)
    assert stages[2].probabilities[7] == 0
    assert np.count_nonzero(stages[-1].probabilities) <= 5
    assert stages[-1].probabilities[talk.said[1]] > 0


SCHEMA = json.dumps({"type": "object", "required": ["a"]})


def answering(monkeypatch: pytest.MonkeyPatch, *texts: str) -> list[list[int]]:
    asked: list[list[int]] = []

    def one(_: Engine, prompts: list[list[int]], settings: Settings) -> list[Completion]:
        asked.append(list(prompts[0]))
        return [Completion(texts[len(asked) - 1], (), "stop")]

    monkeypatch.setattr("kitae.ask.checked.complete", one)
    return asked


def test_an_answer_is_asked_for_until_it_is_valid(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answering(monkeypatch, "no JSON", '{"b": 1}', '{"a": 1}')
    found, tries = checked_answer(engine, [Message("user", "Go")], SHORT, SCHEMA)
    assert (found.text, tries) == ('{"a": 1}', 3)
    shown = engine.codec.vocabulary.decode(asked[2])
    assert '{"b": 1}' in shown and '"a"' in shown and "no JSON" not in shown


def test_one_that_never_is_says_what_was_wrong(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, '{"b": 1}', '{"b": 2}')
    with pytest.raises(KitaeError) as told:
        checked_answer(engine, [Message("user", "Go")], SHORT, SCHEMA, tries=2)
    assert '"a"' in told.value.why and '{"b": 2}' in told.value.why
    with pytest.raises(InputError):
        checked_answer(engine, [Message("user", "Go")], Settings(n=2), SCHEMA)
