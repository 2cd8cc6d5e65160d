"""Whatever a model says under a schema, if it comes to an end, it is valid: as another library judges."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator, FormatChecker
from tests.conftest import Tiny
from tests.generate.constrained import Schemas, Walker

from kitae.core.errors import BadConstraint
from kitae.generate import Settings, complete, open_engine
from kitae.generate.constraints import Constraint, Grammars
from kitae.generate.constraints.values import supported
from kitae.models import Target

STOP = 2
# Without rfc3339-validator installed, jsonschema's "time" is that of draft 3, without a time zone.
FORMATS = FormatChecker(formats=[name for name in FormatChecker.checkers if name != "time"])


@pytest.fixture(scope="module")
def grammars(codec: Any) -> Grammars:
    return Grammars(codec.vocabulary, [STOP])


@pytest.fixture(scope="module")
def walker(codec: Any) -> Walker:
    return Walker(codec.vocabulary, STOP)


def problems(text: bytes, schema: object) -> list[str]:
    value = json.loads(text.decode("utf-8"))
    return [error.message for error in Draft202012Validator(schema, format_checker=FORMATS).iter_errors(value)]


def walked(grammars: Grammars, walker: Walker, seeds: range, most: int) -> tuple[int, int]:
    """How many schemas gave a grammar, and how many answers came to an end."""
    used = finished = 0
    for seed in seeds:
        schema = Schemas(seed).one()
        try:
            matcher = grammars.begin(Constraint("json_schema", json.dumps(schema)))
        except BadConstraint:
            continue
        used += 1
        chance = np.random.default_rng(seed)
        for _ in range(2):
            text = walker.said(matcher.fork(), chance)
            if text is not None:
                finished += 1
                assert problems(text, schema) == [], (seed, text, schema)
        if used == most:
            break
    return used, finished


def test_finished_answers_are_valid(grammars: Grammars, walker: Walker) -> None:
    used, finished = walked(grammars, walker, range(10_000, 10_400), 150)
    assert used == 150 and finished > 270


@pytest.mark.slow(20)
def test_finished_answers_of_a_thousand_schemas_are_valid(grammars: Grammars, walker: Walker) -> None:
    used, finished = walked(grammars, walker, range(2_000), 1_000)
    assert used == 1_000 and finished > 1_800


@pytest.mark.parametrize("name", sorted(supported()["formats"]))
def test_formats_are_what_they_are_called(grammars: Grammars, walker: Walker, name: str) -> None:
    schema = {"type": "string", "format": name}
    chance = np.random.default_rng(0)
    for _ in range(30):
        text = walker.said(grammars.begin(Constraint("json_schema", json.dumps(schema))), chance, 150)
        assert text is None or problems(text, schema) == []


def test_a_model_that_knows_nothing_answers_by_schema(tiny_llama: Tiny) -> None:
    """Its own logits, drawn from with the temperature of a usual answer."""
    engine = open_engine(Target(Path(tiny_llama())))
    wanted: dict[str, object] = {
        "name": {"type": "string", "maxLength": 8},
        "tags": {"type": "array", "items": {"enum": ["new", "old"]}, "maxItems": 3},
        "born": {"type": "string", "format": "date"},
    }
    schema = {"type": "object", "properties": wanted, "required": list(wanted), "additionalProperties": False}
    constraint = Constraint("json_schema", json.dumps(schema))
    settings = Settings(max_tokens=150, temperature=1.0, seed=0, constraint=constraint)
    answers = complete(engine, [engine.codec.vocabulary.encode("Who is it?")] * 5, settings)
    finished = [answer for answer in answers if answer.finish == "stop"]
    assert len(finished) >= 4
    assert [problems(answer.text.encode(), schema) for answer in finished] == [[]] * len(finished)
