"""Sequences join and leave while others are decoded: whoever is beside them, they say what they say alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.conftest import Tiny

from kitae.chat import Message
from kitae.core.errors import InputError
from kitae.generate import Completion, Settings, complete, open_engine
from kitae.generate.engine import Engine
from kitae.generate.engines import torch_engine
from kitae.generate.scheduler import Scheduler
from kitae.models import Target, starter_file

TEXTS = ("one", "a longer one, with more to read than the others have", "two", "three of them", "", "and the last")
GREEDY = Settings(max_tokens=12)


@pytest.fixture(scope="module", params=["torch", "llama.cpp"])
def engine(request: pytest.FixtureRequest, tiny_llama: Tiny) -> Engine:
    return open_engine(Target(tiny_llama() if request.param == "torch" else starter_file()))


@pytest.fixture
def prompts(engine: Engine) -> list[list[int]]:
    return [list(engine.codec.prompt([Message("system", "Be brief."), Message("user", text)])) for text in TEXTS]


@pytest.fixture
def scheduler(engine: Engine) -> Iterator[Scheduler]:
    made = Scheduler(engine, 200, 3)
    yield made
    made.close()


def collected(scheduler: Scheduler, said: dict[int, list[int]], steps: int = 10_000) -> dict[int, list[int]]:
    while scheduler.busy and steps:
        for chunk in scheduler.step():
            said.setdefault(chunk.row, []).extend(chunk.tokens)
        steps -= 1
    return said


def alone(engine: Engine, prompt: list[int], settings: Settings = GREEDY) -> list[int]:
    return list(complete(engine, [prompt], settings)[0].tokens)


def test_whoever_joins_later_says_what_it_says_alone(engine: Engine, prompts: list[list[int]], scheduler: Scheduler) -> None:
    said: dict[int, list[int]] = {}
    for prompt in prompts:  # more than there are places for
        scheduler.add(prompt, GREEDY)
        collected(scheduler, said, 3)
    assert [said[number] for number in sorted(collected(scheduler, said))] == [alone(engine, prompt) for prompt in prompts]


def test_each_has_its_own_settings(engine: Engine, prompts: list[list[int]], scheduler: Scheduler) -> None:
    # A draw among tokens that are all as likely would fall elsewhere by a rounding of the last digit.
    warm = Settings(max_tokens=20, temperature=0.05, seed=3)
    narrow = Settings(max_tokens=5, temperature=0.03, top_k=7, top_p=0.8, seed=4)
    wishes = [(prompts[0], warm), (prompts[1], GREEDY), (prompts[0], narrow)]
    apart = []
    for prompt, settings in wishes:
        number = scheduler.add(prompt, settings)
        apart.append(collected(scheduler, {})[number])
    numbers = [scheduler.add(prompt, settings) for prompt, settings in wishes]
    together = collected(scheduler, {})
    assert [together[number] for number in numbers] == apart
    assert len({tuple(tokens) for tokens in apart}) == 3


def test_who_leaves_changes_nothing_for_the_others(engine: Engine, prompts: list[list[int]], scheduler: Scheduler) -> None:
    first, second, third, waiting = (scheduler.add(prompt, GREEDY) for prompt in prompts[:4])
    said = collected(scheduler, {}, 4)
    scheduler.drop(second)
    scheduler.drop(waiting)
    last = scheduler.add(prompts[4], GREEDY)
    collected(scheduler, said)
    assert waiting not in said and len(said[second]) == 4
    assert [said[n] for n in (first, third, last)] == [alone(engine, prompts[i]) for i in (0, 2, 4)]


def test_what_does_not_fit_is_told_before_it_waits(engine: Engine, prompts: list[list[int]], scheduler: Scheduler) -> None:
    with pytest.raises(InputError) as told:
        scheduler.add(prompts[0] * 20, GREEDY)
    assert told.value.kind == "context-full"
    assert not scheduler.busy


def test_more_prompts_than_places(engine: Engine, prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[tuple[int, float]] = []
    wide = complete(engine, prompts, GREEDY)
    monkeypatch.setattr(engine, "width", 2)
    narrow = complete(engine, prompts, GREEDY, lambda *told: heard.append(told))
    assert narrow == wide and heard == sorted(heard) and heard[-1] == (len(prompts), pytest.approx(1))
    assert complete(engine, [], GREEDY) == []
    assert isinstance(narrow[0], Completion)


def test_who_joins_with_others_takes_only_its_own_beginning_over(engine: Engine, scheduler: Scheduler) -> None:
    """Of two that come together and have nothing in common, one begins like a sequence that is running."""
    asked = [engine.codec.vocabulary.encode(text) for text in ("The river runs " * 12, "The river runs " * 9 + "dry", "Not so")]
    said: dict[int, list[int]] = {}
    scheduler.add(asked[0], GREEDY)
    collected(scheduler, said, 3)
    for ids in asked[1:]:
        scheduler.add(ids, GREEDY)
    collected(scheduler, said)
    assert [said[number] for number in sorted(said)] == [alone(engine, ids) for ids in asked]


def test_those_that_cannot_join_wait_for_all_to_end(tiny_llama: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model with a state or a window would otherwise decode each newcomer by itself."""
    engine = open_engine(Target(tiny_llama()))
    monkeypatch.setattr(torch_engine, "_attends", lambda *_: False)
    asked = [engine.codec.prompt([Message("user", text)]) for text in TEXTS]
    wishes = [Settings(max_tokens=3 + 2 * number) for number in range(len(asked))]  # each ends by itself
    scheduler = Scheduler(engine, 200, 3)
    batches: list[int] = []
    begin, read = scheduler._decoder.begin, scheduler._decoder.read
    begun: list[int] = []
    monkeypatch.setattr(scheduler._decoder, "begin", lambda *told: (begun.append(told[0]), begin(*told))[1])
    monkeypatch.setattr(scheduler._decoder, "read", lambda parts: (batches.append(len(begun)), begun.clear(), read(parts))[2])
    numbers = [scheduler.add(ids, settings) for ids, settings in zip(asked, wishes, strict=True)]
    said = collected(scheduler, {})
    scheduler.close()
    assert [count for count in batches if count] == [3, 3]
    assert [said[number] for number in numbers] == [alone(engine, *wish) for wish in zip(asked, wishes, strict=True)]
