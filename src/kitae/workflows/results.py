"""What the functions of `import kitae` return: the same values that the commands print with `--json`."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

from kitae.evaluate import Scores
from kitae.ship import FormScores, ShipReport
from kitae.train import Estimate
from kitae.verify import GateResult, VerdictResult

__all__ = ["Estimate", "FormScores", "GateResult", "Scores", "ShipReport", "VerdictResult"]


class TrainReport(TypedDict):
    run: str
    path: str
    before: NotRequired[list[GateResult]]  # absent in a process that only helps another
    after: NotRequired[list[GateResult]]
    verdict: NotRequired[Literal["ship", "refuse", "incomplete"]]


class QuickstartReport(TypedDict):
    verdict: Literal["ship", "refuse", "incomplete"]
    run: str
    package: str | None
    rows: int  # that were trained on
    table: list[FormScores]
    gates: list[GateResult]
    seconds: float


class Merged(TypedDict):
    run: str
    folder: str


class Exported(TypedDict):
    file: str
    size_mb: float


class EvalReport(TypedDict):
    target: str
    rows: int
    suites: Scores
    against: NotRequired[str]
    suites_against: NotRequired[Scores]
    difference: NotRequired[Scores]  # by suite: the mean, and half the width of its interval


class TrainingNumbers(TypedDict, total=False):
    """What training took; empty where there was no step."""

    parameters: int
    learned: int | None
    tokens_per_second: float
    seconds: float
    memory_mb: float


class ComparedRun(TrainingNumbers):
    run: str
    validation_loss: float | None
    suites: Scores
    difference: Scores  # against the first run


class Comparison(TypedDict):
    rows: int
    settings: dict[str, list[Any]]  # those in which the recipes differ, one value a run
    runs: list[ComparedRun]
    page: NotRequired[str]  # written when all is known


class SweepReport(TypedDict):
    recipe: str
    trials: list[dict[str, Any]]  # the settings of each, its run, and its scores or why it failed
    means: list[dict[str, Any]]  # where seeds were varied


class RecipeCheck(Estimate):
    licence: GateResult


class CleanReport(TypedDict):
    rows: int
    kept: int
    rejected: int
    repaired: int
    gates: dict[str, Any]
    habits: dict[str, Any]
    unread: dict[str, int]
    sources: list[dict[str, Any]]
    statistics: dict[str, Any]
    command: str
    folder: NotRequired[str]
    page: NotRequired[str]
    spelled: NotRequired[dict[str, float]]


class SplitReport(TypedDict):
    rows: int
    rejected: int
    groups: int
    parts: dict[str, int]
    proof: dict[str, Any]
    command: str
    shares: NotRequired[dict[str, dict[str, float]]]
    proven: bool  # whether no row is in two parts
    folder: str


class PullReport(TypedDict):
    name: str
    files: list[str]
    format: str
    licence: str
    claims: list[dict[str, str]]
    rows_known: int | None
    limit: int | None
    rows: int
    rejected: int
    sha256: str
    folder: str


class LicenceReport(TypedDict):
    claims: list[dict[str, str]]
    verdicts: list[dict[str, Any]]


class RoundTripProof(TypedDict):
    exact: bool
    characters: int
    strings: int
    lost: list[dict[str, str]]


class TokenizerReport(TypedDict):
    folder: str
    kind: str
    vocabulary: int
    pre_tokenizer: str | None
    special_tokens: list[str]
    texts: int
    megabytes: float
    learned_from_megabytes: float
    round_trip: RoundTripProof
    seconds: float


class TokenizerFacts(TypedDict):
    tokenizer: str
    kind: str
    vocabulary: int
    pre_tokenizer: str | None
    special_tokens: dict[str, int]
    stop_token: str | None
    template: bool
    answers_end_with: str | None
    texts: list[dict[str, Any]]
    rare: dict[str, Any] | None
    longest: Any
    round_trip: RoundTripProof


class PreviewReport(TypedDict):
    rows: list[dict[str, Any]]
    unread: dict[str, int]
    unreadable: list[dict[str, str | None]]
