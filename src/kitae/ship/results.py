"""What the proof chain reports."""

from __future__ import annotations

from typing import Any, TypedDict

from kitae.verify import VerdictResult


class FormScores(TypedDict):
    form: str
    exact_match: float | None
    stop_rate: float | None
    size_mb: float
    tokens_per_second: float | None  # None: nothing was asked
    answers_of: str | None  # the form that it was proven equal to, and that was asked instead


class Sample(TypedDict):
    prompt: str
    truth: str
    answers: dict[str, str]


class ShipReport(VerdictResult):
    run: str
    created: str
    package: str | None
    table: list[FormScores]
    training: list[dict[str, Any]]
    validation: list[dict[str, Any]]
    samples: list[Sample]
