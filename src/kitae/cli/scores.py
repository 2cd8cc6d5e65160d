"""What `kitae eval` shows."""

from __future__ import annotations

from kitae.cli.result import grid
from kitae.files import JsonDict
from kitae.i18n import t


def score_table(report: JsonDict) -> str:
    """Scores of `kitae eval`, one column a model."""
    columns = [report["suites"], *([report["suites_against"]] if "against" in report else [])]
    rows = [[t("eval.score"), report["target"], *([report["against"]] if "against" in report else [])]]
    if "language" in report["suites"]:
        language = [column["language"] for column in columns]
        rows.append([t("eval.bits"), *(_with_interval(found["bits_per_byte"], found["interval"]) for found in language)])
        rows.append([t("eval.perplexity"), *(f"{found['perplexity']:.2f}" for found in language)])
        rows.append([t("eval.accuracy"), *(f"{found['accuracy']:.1%}" for found in language)])
        rows.append([t("eval.unknown"), *(f"{found['unknown']:.1%}" for found in language)])
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
        lines.append(t("eval.difference", suite=suite, mean=f"{found['mean']:+.4f}", error=f"{found['plus_minus']:.4f}"))
    return "\n".join(lines)


def _with_interval(value: float, interval: list[float], form: str = ".4f") -> str:
    return f"{value:{form}} ({interval[0]:{form}}–{interval[1]:{form}})"
