"""The report of a chain: numbers for programs, one self-contained page for people, in both languages."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from kitae.files import JsonDict
from kitae.i18n import LANGUAGES, t
from kitae.runs import Run
from kitae.verify import Gate, Observation, RunVerifier, Verdict

_SAMPLES = 6


def chain_report(run: Run, verifier: RunVerifier, gates: Sequence[Gate], ship: Path | None) -> JsonDict:
    seen = verifier.observations
    return {
        "run": run.id,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "package": str(ship) if ship else None,
        **Verdict(list(gates)).as_dict(),
        "table": [_table_row(name, observation, verifier) for name, observation in seen.items()],
        "training": [{key: e.get(key) for key in ("step", "loss", "learning_rate")} for e in run.events("step")],
        "validation": [{"step": e["step"], "loss": e["loss"]} for e in run.events("validation")],
        "samples": _samples(seen, verifier),
    }


def _table_row(name: str, seen: Observation, verifier: RunVerifier) -> JsonDict:
    exact, stops = verifier.shares(seen)
    return {
        "form": name,
        "exact_match": exact,
        "stop_rate": stops,
        "size_mb": round(_size(Path(seen.job.path)) / 1e6, 1),
        "tokens_per_second": round(seen.tokens_per_second, 1) or None,  # None: nothing was asked
    }


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.glob("*.safetensors"))


def _samples(seen: dict[str, Observation], verifier: RunVerifier) -> list[JsonDict]:
    rows = verifier.exam.prompts[:_SAMPLES]
    return [
        {
            "prompt": next((m.content for m in reversed(row.prompt) if m.role == "user"), ""),
            "truth": row.answer,
            "answers": {name: o.answers[i].text for name, o in seen.items() if i < len(o.answers)},
        }
        for i, row in enumerate(rows)
    ]


def render_html(report: JsonDict) -> str:
    """One page, no network: texts of both languages are in it, and a button chooses."""
    sections = "".join(f'<main lang="{lang}">{_page(report, lang)}</main>' for lang in LANGUAGES)
    style = (Path(__file__).parent / "report.css").read_text(encoding="utf-8")
    return (
        f'<!doctype html><html data-show="en"><head><meta charset="utf-8"><title>{_e(report["run"])}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{style}</style></head><body>'
        '<nav><button data-lang="en">English</button><button data-lang="ja">日本語</button></nav>'
        f"{sections}<script>const root=document.documentElement;"
        "const show=l=>{root.dataset.show=l;root.lang=l};"
        "show((navigator.language||'en').startsWith('ja')?'ja':'en');"
        "document.querySelectorAll('[data-lang]').forEach(b=>b.onclick=()=>show(b.dataset.lang));</script>"
        "</body></html>\n"
    )


def _page(report: JsonDict, lang: str) -> str:
    def say(key: str) -> str:
        return _e(t(f"report.{key}", lang))

    verdict = report["verdict"]
    gates = [Gate.from_dict(gate) for gate in report["gates"]]
    table = "".join(
        f"<tr><td>{_e(row['form'])}</td><td>{_share(row['exact_match'])}</td><td>{_share(row['stop_rate'])}</td>"
        f"<td>{row['size_mb']}</td><td>{row['tokens_per_second'] or '–'}</td></tr>"
        for row in report["table"]
    )
    return (
        f'<header><h1>{_e(report["run"])}</h1><p class="verdict {verdict}">{say("verdict." + verdict)}</p></header>'
        f"<h2>{say('forms')}</h2><table><tr><th>{say('form')}</th><th>{say('exact')}</th><th>{say('stops')}</th>"
        f"<th>MB</th><th>{say('speed')}</th></tr>{table}</table>"
        f"<h2>{say('loss')}</h2>{_curve(report)}"
        f"<h2>{say('gates')}</h2>{''.join(_gate(gate, lang) for gate in gates)}"
        f"<h2>{say('samples')}</h2>{''.join(_sample(sample, say('truth')) for sample in report['samples'])}"
        f"<footer>{_e(report['created'])}</footer>"
    )


def _gate(gate: Gate, lang: str) -> str:
    evidence = "".join(f"<li>{_e(line)}</li>" for line in gate.evidence if line)
    fix = f'<p class="fix">{_e(gate.fix(lang))}</p>' if gate.fix(lang) else ""
    numbers = json.dumps({"measured": gate.measured, "limit": gate.limit}, ensure_ascii=False)
    subject = f" <small>{_e(gate.subject)}</small>" if gate.subject else ""
    opened = " open" if gate.verdict == "refuse" else ""
    return (
        f'<details class="{gate.verdict}"{opened}><summary><b>{gate.id}</b>{subject} '
        f"{_e(t('report.' + gate.verdict, lang))}</summary>"
        f"<p>{_e(gate.why(lang))}</p>{fix}<ul>{evidence}</ul><code>{_e(numbers)}</code></details>"
    )


def _sample(sample: JsonDict, truth: str) -> str:
    answers = "".join(f"<tr><th>{_e(name)}</th><td>{_e(text)}</td></tr>" for name, text in sample["answers"].items())
    return (
        f'<div class="sample"><p>{_e(sample["prompt"])}</p><table><tr><th>{truth}</th>'
        f"<td>{_e(sample['truth'])}</td></tr>{answers}</table></div>"
    )


def _curve(report: JsonDict) -> str:
    """Training and validation loss over steps, as an inline drawing."""
    training = [(p["step"], p["loss"]) for p in report["training"] if isinstance(p["loss"], (int, float))]
    validation = [(p["step"], p["loss"]) for p in report["validation"]]
    every = training + validation
    if not every:
        return ""
    right = max(step for step, _ in every) or 1
    top = max(loss for _, loss in every) or 1.0

    def line(points: list[tuple[int, float]], css: str) -> str:
        path = " ".join(f"{40 + 550 * step / right:.1f},{190 - 170 * loss / top:.1f}" for step, loss in points)
        return f'<polyline class="{css}" points="{path}"/>'

    def dot(step: int, loss: float) -> str:
        x, y = 40 + 550 * step / right, 190 - 170 * loss / top
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"><title>{step}: {loss:.4f}</title></circle>'

    dots = "".join(dot(step, loss) for step, loss in validation)
    return (
        '<svg viewBox="0 0 600 215" role="img"><path class="axis" d="M40 15V190H595"/>'
        f'<text x="2" y="24">{top:.2f}</text><text x="2" y="190">0</text><text x="565" y="208">{right}</text>'
        f"{line(training, 'train')}{line(validation, 'valid')}{dots}</svg>"
    )


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _e(text: object) -> str:
    return html.escape(str(text))
