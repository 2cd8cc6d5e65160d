"""What `kitae eval` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kitae.cli.result import grid
from kitae.core.files import JsonDict
from kitae.core.i18n import t

if TYPE_CHECKING:
    from kitae.workflows import EvalReport, SweepReport


def score_table(report: EvalReport) -> str:
    """Scores of `kitae eval`, one column a model."""
    columns = [report["suites"], *([report["suites_against"]] if "against" in report else [])]
    rows = [[t("eval.score"), report["target"], *([report["against"]] if "against" in report else [])]]
    if "language" in report["suites"]:
        language = [column["language"] for column in columns]
        rows.append([t("eval.bits"), *(_with_interval(found["bits_per_byte"], found["interval"]) for found in language)])
        rows.append([t("eval.perplexity"), *(f"{found['perplexity']:.2f}" for found in language)])
        rows.append([t("eval.accuracy"), *(f"{found['accuracy']:.1%}" for found in language)])
        rows.append([t("eval.unknown"), *(f"{found['unknown']:.1%}" for found in language)])
        if any(found["left_out"] for found in language):
            rows.append([t("eval.left-out"), *(str(found["left_out"]) for found in language)])
        if "bigrams" in language[0]:
            counted = language[0]["bigrams"]
            text = t("eval.counted", bits=f"{counted['bits_per_byte']:.4f}", perplexity=f"{counted['perplexity']:.2f}")
            rows.append([t("eval.bigrams"), text, *[""] * (len(columns) - 1)])
        if any("contexts" in found for found in language):
            solved = [found.get("contexts") for found in language]
            rows.append([t("eval.passes"), *(f"{one['passes']:.1f}" if one else "–" for one in solved)])
            rows.append([t("eval.gap"), *(f"{one['gap']:+.4f}" if one else "–" for one in solved)])
    if "exact_match" in report["suites"]:
        exact = [column["exact_match"] for column in columns]
        rows.append([t("report.exact"), *(_with_interval(found["share"], found["interval"], ".1%") for found in exact)])
    lines = [grid(rows)]
    for suite, found in report.get("difference", {}).items():
        error = "–" if found["plus_minus"] is None else f"{found['plus_minus']:.4f}"  # one row says nothing of others
        lines.append(t("eval.difference", suite=suite, mean=f"{found['mean']:+.4f}", error=error))
    return "\n".join(lines)


def _with_interval(value: float, interval: list[float], form: str = ".4f") -> str:
    return f"{value:{form}} ({interval[0]:{form}}–{interval[1]:{form}})"


_COLUMNS = {  # of a trial, and how each is written
    "bits_per_byte": ".4f",
    "perplexity": ".2f",
    "accuracy": ".1%",
    "unknown": ".1%",
    "exact_match": ".1%",
    "passes": ".1f",
    "gap": "+.4f",
    "parameters": ",",
    "learned": ",",
    "tokens_per_second": ",.0f",
    "seconds": ",.0f",
    "memory_mb": ",",
}


def sweep_table(value: SweepReport) -> str:
    trials = value["trials"]
    settings = [key for key in trials[0] if "." in key]
    shown = [name for name in _COLUMNS if any(name in trial for trial in trials)]
    head = [*(key.rpartition(".")[2] for key in settings), *shown, "run"]
    rows = [
        [*(trial[key] for key in settings), *(_cell(trial, name) for name in shown), trial["run"] or "–"] for trial in trials
    ]
    tables = [grid([head, *rows])]
    failures = [
        f"{t('sweep.failure')}: {', '.join(f'{key}={trial[key]}' for key in settings)}: {trial['failure']}"
        for trial in trials
        if "failure" in trial
    ]
    if value["means"]:
        varied = [key for key in settings if key in value["means"][0]]
        head = [*(key.rpartition(".")[2] for key in varied), t("sweep.seeds"), t("sweep.mean"), t("sweep.spread")]
        means = [
            [*(mean[key] for key in varied), mean["seeds"], f"{mean['mean']:.4f}", f"{mean['spread']:.4f}"]
            for mean in value["means"]
        ]
        tables.append(grid([head, *means]))
    return "\n\n".join([*tables, *failures])


def _cell(trial: JsonDict, name: str) -> str:
    return "–" if trial.get(name) is None else f"{trial[name]:{_COLUMNS[name]}}"
