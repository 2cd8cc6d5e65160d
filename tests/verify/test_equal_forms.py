"""A form that is shown equal to another is asked for few answers, and has the other's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kitae.generate import Completion
from kitae.models import Target
from kitae.verify.gate import Gate, passed, refused
from kitae.verify.observe import Job, Observation
from kitae.verify.run import RunVerifier

TRUTHS = [f"answer {i}" for i in range(12)]
FORM = Target(Path("model.gguf"), "F16")


def seen(answers: list[str]) -> Observation:
    found = [Completion(text, (1,), "stop") for text in answers]
    return Observation(Job(Target(Path("x"))), {}, [], [], None, found, found[:2], 50.0)


@pytest.fixture
def verifier() -> RunVerifier:
    made = RunVerifier.__new__(RunVerifier)
    made.__dict__["exam"] = type("Exam", (), {"truths": TRUTHS})
    made._seen = {("F16", FORM.path): seen(TRUTHS[:3])}
    return made


def proven(verifier: RunVerifier, proof: Gate) -> Observation:
    verifier._proven(FORM, "merged", seen([*TRUTHS[:6], *["wrong"] * 6]), proof)
    return verifier._seen[("F16", FORM.path)]


def test_a_form_that_was_asked_less_is_scored_on_what_it_said(verifier: RunVerifier) -> None:
    """A refused one still has its line in the report."""
    assert verifier.shares(seen(TRUTHS[:3])) == (1.0, 1.0)
    assert verifier.shares(seen(TRUTHS)) == (1.0, 1.0)
    assert verifier.shares(seen([])) == (None, None)


def test_an_equal_form_has_the_others_answers(verifier: RunVerifier) -> None:
    found = proven(verifier, passed("gguf.equivalent", {"mean": 1e-6}, 1e-4))
    assert len(found.answers) == 12 and found.answers_of == "merged" and verifier.shares(found)[0] == 0.5
    assert found.tokens_per_second == 0.0, "it was not timed"


@pytest.mark.parametrize(
    "proof",
    [
        refused("gguf.equivalent", "far", {"mean": 1e-6}, 1e-4),
        passed("gguf.equivalent", {"mean": 5e-4}, 1e-3),  # a recipe's own, looser limit
        replace(passed("gguf.equivalent", {"mean": 1e-6}, 1e-4), verdict="skip"),
        passed("gguf.equivalent"),
    ],
)
def test_any_other_form_keeps_its_own(verifier: RunVerifier, proof: Gate) -> None:
    found = proven(verifier, proof)
    assert len(found.answers) == 3 and not found.answers_of
