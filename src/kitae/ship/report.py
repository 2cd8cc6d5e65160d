"""The report of a chain: numbers for programs, one self-contained page for people, in both languages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from kitae.core.html import Line, curves, escape, page
from kitae.core.i18n import t
from kitae.runs import Run
from kitae.ship.results import FormScores, Sample, ShipReport
from kitae.verify import Gate, Observation, RunVerifier, Verdict

_SAMPLES = 6


def chain_report(run: Run, verifier: RunVerifier, gates: Sequence[Gate], ship: Path | None) -> ShipReport:
    seen = verifier.observations
    return {
        "run": run.id,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "package": str(ship) if ship else None,
        **Verdict(list(gates)).as_dict(),
        "table": [_table_row(name, observation, verifier) for name, observation in seen.items()],
        "training": [{key: e.get(key) for key in ("step", "loss", "learning_rate")} for e in run.events("step")],
        "validation": [{"step": e["step"], "loss": e["loss"]} for e in run.events("validation")],
        "samples": _samples(seen, verifier),
    }


def _table_row(name: str, seen: Observation, verifier: RunVerifier) -> FormScores:
    exact, stops = verifier.shares(seen)
    return {
        "form": name,
        "exact_match": exact,
        "stop_rate": stops,
        "size_mb": round(_size(seen.job.target.path) / 1e6, 1),
        "tokens_per_second": round(seen.tokens_per_second, 1) or None,  # None: nothing was asked
        "answers_of": seen.answers_of or None,  # the form that it was proven equal to, and that was asked instead
    }


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.glob("*.safetensors"))


def _samples(seen: dict[str, Observation], verifier: RunVerifier) -> list[Sample]:
    rows = verifier.exam.prompts[:_SAMPLES]
    return [
        {
            "prompt": next((m.content for m in reversed(row.prompt) if m.role == "user"), ""),
            "truth": row.answer,
            "answers": {name: o.answers[i].text for name, o in seen.items() if i < len(o.answers)},
        }
        for i, row in enumerate(rows)
    ]


def render_html(report: ShipReport) -> str:
    return page(report["run"], lambda lang: _page(report, lang))


def _page(report: ShipReport, lang: str) -> str:
    def say(key: str) -> str:
        return escape(t(f"report.{key}", lang))

    verdict = report["verdict"]
    gates = [Gate.from_dict(gate) for gate in report["gates"]]
    table = "".join(
        f"<tr><td>{escape(row['form'])}</td><td>{_share(row['exact_match'])}</td><td>{_share(row['stop_rate'])}</td>"
        f"<td>{row['size_mb']}</td><td>{row['tokens_per_second'] or '–'}</td></tr>"
        for row in report["table"]
    )
    return (
        f'<header><h1>{escape(report["run"])}</h1><p class="verdict {verdict}">{say("verdict." + verdict)}</p></header>'
        f"<h2>{say('forms')}</h2><table><tr><th>{say('form')}</th><th>{say('exact')}</th><th>{say('stops')}</th>"
        f"<th>MB</th><th>{say('speed')}</th></tr>{table}</table>{_equal(report, lang)}"
        f"<h2>{say('loss')}</h2>{_curve(report)}"
        f"<h2>{say('gates')}</h2>{''.join(_gate(gate, lang) for gate in gates)}"
        f"<h2>{say('samples')}</h2>{''.join(_sample(sample, say('truth')) for sample in report['samples'])}"
        f"<footer>{escape(report['created'])}</footer>"
    )


def _equal(report: ShipReport, lang: str) -> str:
    forms = ", ".join(row["form"] for row in report["table"] if row.get("answers_of"))
    return f"<p>{escape(t('report.equal', lang, forms=forms))}</p>" if forms else ""


def _gate(gate: Gate, lang: str) -> str:
    evidence = "".join(f"<li>{escape(line)}</li>" for line in gate.evidence if line)
    fix = f'<p class="fix">{escape(gate.fix(lang))}</p>' if gate.fix(lang) else ""
    numbers = json.dumps({"measured": gate.measured, "limit": gate.limit}, ensure_ascii=False)
    subject = f" <small>{escape(gate.subject)}</small>" if gate.subject else ""
    opened = " open" if gate.verdict == "refuse" else ""
    return (
        f'<details class="{gate.verdict}"{opened}><summary><b>{gate.id}</b>{subject} '
        f"{escape(t('report.' + gate.verdict, lang))}</summary>"
        f"<p>{escape(gate.why(lang))}</p>{fix}<ul>{evidence}</ul><code>{escape(numbers)}</code></details>"
    )


def _sample(sample: Sample, truth: str) -> str:
    answers = "".join(f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in sample["answers"].items())
    return (
        f'<div class="sample"><p>{escape(sample["prompt"])}</p><table><tr><th>{truth}</th>'
        f"<td>{escape(sample['truth'])}</td></tr>{answers}</table></div>"
    )


def _curve(report: ShipReport) -> str:
    """Training and validation loss over steps."""
    training = [(p["step"], p["loss"]) for p in report["training"] if isinstance(p["loss"], (int, float))]
    validation = [(p["step"], p["loss"]) for p in report["validation"]]
    return curves([Line(training, "train"), Line(validation, "valid", dots=True)])


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
