"""Self-contained pages for people, in both languages, without a network; and drawings of curves."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kitae.core.i18n import LANGUAGES


@dataclass(frozen=True)
class Line:
    points: Sequence[tuple[int, float]]
    css: str
    dots: bool = False
    label: str = ""


def page(title: str, body: Callable[[str], str]) -> str:
    """`body` of each language is in it, and a button chooses."""
    sections = "".join(f'<main lang="{lang}">{body(lang)}</main>' for lang in LANGUAGES)
    style = (Path(__file__).parent / "html.css").read_text(encoding="utf-8")
    return (
        f'<!doctype html><html data-show="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{style}</style></head><body>'
        '<nav><button data-lang="en">English</button><button data-lang="ja">日本語</button></nav>'
        f"{sections}<script>const root=document.documentElement;"
        "const show=l=>{root.dataset.show=l;root.lang=l};"
        "show((navigator.language||'en').startsWith('ja')?'ja':'en');"
        "document.querySelectorAll('[data-lang]').forEach(b=>b.onclick=()=>show(b.dataset.lang));</script>"
        "</body></html>\n"
    )


def curves(lines: Sequence[Line]) -> str:
    """Losses over steps, as an inline drawing."""
    kept = [Line([p for p in line.points if math.isfinite(p[1])], line.css, line.dots, line.label) for line in lines]
    every = [point for line in kept for point in line.points]
    if not every:
        return ""
    right = max(step for step, _ in every) or 1
    top = max(loss for _, loss in every) or 1.0

    def place(step: int, loss: float) -> tuple[str, str]:
        return f"{40 + 550 * step / right:.1f}", f"{190 - 170 * loss / top:.1f}"

    def drawn(line: Line) -> str:
        path = " ".join(",".join(place(*point)) for point in line.points)
        return f'<polyline class="{line.css}" points="{path}"><title>{escape(line.label)}</title></polyline>'

    def dot(line: Line, step: int, loss: float) -> str:
        x, y = place(step, loss)
        title = escape(f"{line.label} {step}: {loss:.4f}".strip())
        return f'<circle class="{line.css}" cx="{x}" cy="{y}" r="3"><title>{title}</title></circle>'

    dots = "".join(dot(line, *point) for line in kept if line.dots for point in line.points)
    return (
        '<svg viewBox="0 0 600 215" role="img"><path class="axis" d="M40 15V190H595"/>'
        f'<text x="2" y="24">{top:.2f}</text><text x="2" y="190">0</text><text x="565" y="208">{right}</text>'
        f"{''.join(map(drawn, kept))}{dots}</svg>"
    )


def escape(text: object) -> str:
    return html.escape(str(text))
