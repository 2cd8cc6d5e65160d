"""Whose turn it is, what need not be read again, and who may not wait for ever."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pytest
from tests.conftest import Tiny

from kitae.chat import Message
from kitae.core.errors import InputError
from kitae.generate import Constraint, DraftModel, LlamaEngine, PromptLookup, Settings, Speculation, complete, open_engine
from kitae.generate.engine import Engine
from kitae.generate.scheduler import Scheduler
from kitae.generate.speculation import Asked
from kitae.models import Target, starter_file

GREEDY = Settings(max_tokens=8)


@pytest.fixture(scope="module", params=["torch", "llama.cpp"])
def engine(request: pytest.FixtureRequest, tiny_llama: Tiny) -> Engine:
    return open_engine(Target(tiny_llama(tokens=4096) if request.param == "torch" else starter_file()))


@pytest.fixture
def scheduler(engine: Engine) -> Iterator[Scheduler]:
    made = Scheduler(engine, 512, 3)
    yield made
    made.close()


def said_by(scheduler: Scheduler, steps: int = 10_000) -> dict[int, list[int]]:
    said: dict[int, list[int]] = {}
    while scheduler.busy and steps:
        for chunk in scheduler.step():
            said.setdefault(chunk.row, []).extend(chunk.tokens)
        steps -= 1
    return said


def words(engine: Engine, text: str, times: int) -> list[int]:
    return engine.codec.vocabulary.encode(" ".join(f"{text} {number}" for number in range(times)))


def test_a_long_prompt_is_read_beside_those_that_answer(
    engine: Engine, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "_speed", 40.0)  # so that 30 tokens may be read beside one that answers
    monkeypatch.setattr(scheduler, "_measure", lambda *_: None)
    long = words(engine, "a story", 60)
    assert 200 < len(long) < 500
    talking = scheduler.add(words(engine, "hi", 3), Settings(max_tokens=90, ignore_stops=True))
    scheduler.step()
    waiting = scheduler.add(long, GREEDY)
    said: dict[int, list[int]] = {}
    steps = 0
    while waiting not in said:
        steps += 1
        for chunk in scheduler.step():
            said.setdefault(chunk.row, []).extend(chunk.tokens)
    assert steps >= len(long) // 32
    assert len(said[talking]) == steps, "the other one got a token at every step"
    for number, tokens in said_by(scheduler).items():
        said[number] += tokens
    assert said[waiting] == list(complete(engine, [long], GREEDY)[0].tokens)


def test_a_short_prompt_does_not_wait_for_a_long_one(
    engine: Engine, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler._decoder, "chunk", 64)
    long = scheduler.add(words(engine, "a story", 60), GREEDY)
    short = scheduler.add(words(engine, "hi", 3), GREEDY)
    first: list[int] = []
    while len(first) < 2:
        first += [chunk.row for chunk in scheduler.step() if chunk.row not in first]
    assert first == [short, long]


def test_what_an_earlier_prompt_had_read_is_known(engine: Engine, scheduler: Scheduler) -> None:
    story = words(engine, "once upon a time", 20)
    first = [*story, *words(engine, "and then", 3)]
    second = [*story, *words(engine, "but no", 4)]
    scheduler.add(first, GREEDY)
    said_by(scheduler)
    number = scheduler.add(second, GREEDY)
    chunks = scheduler.step()
    assert chunks[0].known >= len(story)
    assert [chunks[0].tokens[0], *said_by(scheduler)[number]] == list(complete(engine, [second], GREEDY)[0].tokens)


def test_what_others_have_read_is_known_to_nobody_else(engine: Engine, scheduler: Scheduler) -> None:
    story = words(engine, "a secret", 20)
    scheduler.add(story, GREEDY, owner="one")
    said_by(scheduler)
    scheduler.add(story, GREEDY, owner="another")
    assert scheduler.step()[0].known == 0
    said_by(scheduler)
    scheduler.add(story, GREEDY, owner="one")
    assert scheduler.step()[0].known == len(story) - 1


def test_several_that_begin_alike_read_that_once(engine: Engine, scheduler: Scheduler) -> None:
    story = words(engine, "once upon a time", 20)
    prompts = [[*story, *words(engine, end, 2)] for end in ("and", "but", "or")]
    for prompt in prompts:
        scheduler.add(prompt, GREEDY)
    known: dict[int, int] = {}
    said: dict[int, list[int]] = {}
    while scheduler.busy:
        for chunk in scheduler.step():
            known[chunk.row] = chunk.known
            said.setdefault(chunk.row, []).extend(chunk.tokens)
    assert sorted(count >= len(story) for count in known.values()) == [False, True, True]
    assert list(said.values()) == [list(answer.tokens) for answer in complete(engine, prompts, GREEDY)]


def order(scheduler: Scheduler) -> list[int]:
    """In which sequences say their first token."""
    first: list[int] = []
    while scheduler.busy:
        first += [chunk.row for chunk in scheduler.step() if chunk.row not in first]
    return first


def test_owners_take_turns(engine: Engine) -> None:
    scheduler = Scheduler(engine, 200, 1)
    greedy_one = [scheduler.add(words(engine, f"many {number}", 3), GREEDY, owner="many") for number in range(5)]
    other = scheduler.add(words(engine, "just one", 3), GREEDY, owner="few")
    assert order(scheduler).index(other) == 1
    assert len(greedy_one) == 5
    scheduler.close()


def test_a_higher_priority_comes_first(engine: Engine) -> None:
    scheduler = Scheduler(engine, 200, 1)
    numbers = [scheduler.add(words(engine, str(p), 3), Settings(max_tokens=3, priority=p)) for p in (0, -1, 5, 5)]
    assert order(scheduler) == [numbers[2], numbers[3], numbers[0], numbers[1]]
    scheduler.close()


def test_who_waits_too_long_is_told_so(engine: Engine) -> None:
    scheduler = Scheduler(engine, 400, 1)
    scheduler.add(words(engine, "one", 3), Settings(max_tokens=200, ignore_stops=True))
    late = scheduler.add(words(engine, "two", 3), Settings(max_tokens=5, max_seconds=0.05))
    ends = {chunk.row: (chunk.finish, chunk.tokens) for _ in range(200) for chunk in scheduler.step() if chunk.finish}
    assert ends[late] == ("time", ())
    scheduler.close()


@pytest.mark.parametrize("settings", [Settings(max_tokens=40), Settings(max_tokens=40, temperature=0.7, top_k=20, seed=5)])
@pytest.mark.parametrize("guesser", ["lookup", "draft", "wrong"])
def test_guesses_change_no_answer(engine: Engine, settings: Settings, guesser: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a lookup, by a model (here the same one, which is always right when it is asked greedily), or by a fool."""

    class Fool(PromptLookup):
        def guess(self, asked: Mapping[int, Asked]) -> dict[int, list[int]]:
            return {number: [7, 8, 9][: one.room] for number, one in asked.items()}

    prompts = [words(engine, text, 6) for text in ("one two three", "red blue", "x")]
    plain = [answered(Scheduler(engine, 300, 3), prompt, settings) for prompt in prompts]
    made = {"lookup": PromptLookup, "wrong": Fool, "draft": lambda: DraftModel(again(engine), 3, 300)}[guesser]
    guessed = []
    for prompt in prompts:
        speculation = Speculation(made())
        monkeypatch.setattr(speculation, "heard", lambda *_: None)  # it may not give up here
        speculation._step = 1
        guessed.append(answered(Scheduler(engine, 300, 3, speculation), prompt, settings))
    assert [tokens for tokens, _ in guessed] == [tokens for tokens, _ in plain]
    speculation = Speculation(made())
    monkeypatch.setattr(speculation, "heard", lambda *_: None)
    speculation._step = 1
    scheduler = Scheduler(engine, 300, 3, speculation)  # and all at once
    numbers = [scheduler.add(prompt, settings) for prompt in prompts]
    together = said_by(scheduler)
    scheduler.close()
    assert [together[number] for number in numbers] == [tokens for tokens, _ in plain]
    saved = sum(steps for _, steps in plain) - sum(steps for _, steps in guessed)
    assert saved > 0 if guesser == "draft" else saved >= 0


def answered(scheduler: Scheduler, prompt: list[int], settings: Settings) -> tuple[list[int], int]:
    """The tokens, and how many steps they took."""
    scheduler.add(prompt, settings)
    said: list[int] = []
    steps = 0
    while scheduler.busy:
        steps += 1
        said += [chunk.tokens[0] for chunk in scheduler.step()]
    scheduler.close()
    return said, steps


def again(engine: Engine) -> Engine:
    """The same model, which somebody else may close."""
    return open_engine(Target(engine.model.path)) if isinstance(engine, LlamaEngine) else _Kept(engine)


class _Kept:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> object:
        return getattr(self._engine, name)

    def close(self) -> None:
        """Others still use it."""


def test_guesses_that_do_not_pay_are_given_up() -> None:
    speculation = Speculation(PromptLookup())
    for step in range(200):
        guesses = 8 if speculation.pays else 0
        speculation.heard(0.03 if guesses else 0.01, 1, guesses, 1 if guesses else 0)
        if step > 60:
            assert not speculation.pays
    worth = Speculation(PromptLookup())
    for _ in range(200):
        guesses = 8 if worth.pays else 0
        worth.heard(0.012 if guesses else 0.01, 1, guesses, 5 if guesses else 0)
    assert worth.pays or worth._step % 8 == 0


def test_a_constraint_that_breaks_ends_one_answer_only(
    engine: Engine, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kitae.core.errors import KitaeError
    from kitae.generate.constraints import Matcher

    held = scheduler.add(words(engine, "a", 3), Settings(max_tokens=9, constraint=Constraint("regex", "[ab]{4}")))
    free = scheduler.add(words(engine, "b", 3), GREEDY)
    scheduler.step()

    def broken(*_: object) -> None:
        raise KitaeError("constraint-failed", why="made so")

    monkeypatch.setattr(Matcher, "masked", broken)
    ends = {chunk.row: chunk for _ in range(9) for chunk in scheduler.step() if chunk.finish}
    assert ends[held].finish == "failed" and ends[held].error is not None
    assert ends[free].finish in ("stop", "length")


def test_a_constraint_is_kept_to(engine: Engine) -> None:
    settings = Settings(max_tokens=30, temperature=1.0, constraint=Constraint("choice", '["apples", "pears and plums"]'))
    prompts = [engine.codec.prompt([Message("user", f"Fruit {number}?")]) for number in range(6)]
    answers = complete(engine, prompts, settings)
    assert {answer.text for answer in answers} <= {"apples", "pears and plums"}
    assert all(answer.finish == "stop" for answer in answers)


def test_logprobs_are_the_models_own(engine: Engine) -> None:
    prompt = words(engine, "one", 4)
    settings = Settings(max_tokens=4, logprobs=3, top_k=1, bans=tuple(range(300, 400)))
    answer = complete(engine, [prompt], settings)[0]
    rows = engine.logits([*prompt, *answer.tokens], len(prompt) - 1).astype("float64")
    for found, row in zip(answer.logprobs, rows, strict=True):
        row -= row.max()
        row -= np.log(np.exp(row).sum())
        assert found.logprob == pytest.approx(row[found.token], abs=2e-2)
        assert [value for _, value in found.top] == pytest.approx(sorted(row.tolist(), reverse=True)[:3], abs=2e-2)


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        (Settings(constraint=Constraint("json"), stop=("}",)), "constraint-stops"),
        (Settings(constraint=Constraint("json"), stop_tokens=(5,)), "constraint-stops"),
        (Settings(bans=(10**7,)), "token-id"),
        (Settings(logit_bias=((-1, 2.0),)), "token-id"),
    ],
)
def test_wishes_that_can_not_be_met_are_refused(scheduler: Scheduler, settings: Settings, kind: str) -> None:
    with pytest.raises(InputError) as told:
        scheduler.add([5, 6, 7], settings)
    assert told.value.kind == kind and not scheduler.busy


def test_an_empty_prompt_is_refused(scheduler: Scheduler) -> None:
    with pytest.raises(InputError) as told:
        scheduler.add([], GREEDY)
    assert told.value.kind == "prompt-empty"
