"""A report of cleaned rows, for a person."""

from __future__ import annotations

from collections.abc import Sequence

from kitae.core.files import JsonDict
from kitae.core.html import escape, page
from kitae.core.i18n import t

_MARKED = 8  # bars that say where they begin
_LENGTHS = ("tokens", "learned", "asked", "answered", "turns")


def report_page(report: JsonDict) -> str:
    return page(t("data.report.title", "en"), lambda lang: _body(report, lang))


def _body(report: JsonDict, lang: str) -> str:
    def word(name: str) -> str:
        return t(f"data.report.{name}", lang)

    counts = [
        (word(name), report[key]) for name, key in (("in", "rows"), *((key, key) for key in ("kept", "rejected", "repaired")))
    ]
    gates = [[gate, *(entry[done] for done in ("rejected", "repaired", "noticed"))] for gate, entry in report["gates"].items()]
    head = [word("gate"), *(t(f"data.done.{done}", lang) for done in ("rejected", "repaired", "noticed"))]
    parts = [
        f"<h1>{escape(word('title'))}</h1>",
        _table(["", ""], counts),
        _table(head, gates) if gates else "",
        _habits(report, lang),
        _unread(report, lang),
        f"<h2>{escape(word('examples'))}</h2>" if gates else "",
        *(_examples(gate, entry, lang) for gate, entry in report["gates"].items()),
        f"<h2>{escape(word('lengths'))}</h2>",
        *(_lengths(name, report["statistics"].get(name), lang) for name in _LENGTHS),
        f"<h2>{escape(word('languages'))}</h2>",
        _table(["", ""], list(report["statistics"]["languages"].items())),
        f"<h2>{escape(word('sources'))}</h2>",
        _table(["", word("in"), word("kept")], [(s["path"], s["rows"], s["kept"]) for s in report["sources"]]),
        f"<h2>{escape(word('again'))}</h2><pre>{escape(report['command'])}</pre>",
    ]
    return "".join(parts)


def _habits(report: JsonDict, lang: str) -> str:
    if not report["habits"]:
        return ""
    title = escape(t("data.report.habits", lang))
    return f"<h2>{title}</h2>{_table(['', ''], list(report['habits'].items()))}"


def _unread(report: JsonDict, lang: str) -> str:
    if not report["unread"]:
        return ""
    return f"<h2>{escape(t('data.report.unread', lang))}</h2>{_table(['', ''], list(report['unread'].items()))}"


def _examples(gate: str, entry: JsonDict, lang: str) -> str:
    rows = [
        (found["where"], t(f"finding.{gate}.{found['kind']}", lang), t(f"data.done.{found['done']}", lang), found["evidence"])
        for found in entry["examples"]
    ]
    head = [t(f"data.report.{name}", lang) for name in ("where", "kind")] + ["", t("data.report.evidence", lang)]
    return f"<h3>{escape(gate)}</h3>{_table(head, rows)}"


def _lengths(name: str, spread: JsonDict | None, lang: str) -> str:
    """How many rows are how long, as bars that double in width on a scale of powers."""
    if not spread or not spread["total"]:
        return ""
    most = max(count for _, count in spread["bars"]) or 1
    width = 600 / len(spread["bars"])
    bars = "".join(
        f'<rect x="{i * width:.1f}" y="{120 - 110 * count / most:.1f}" width="{width - 1:.1f}" '
        f'height="{110 * count / most:.1f}">'
        f"<title>≥ {start}: {count}</title></rect>"
        for i, (start, count) in enumerate(spread["bars"])
    )
    labels = "".join(
        f'<text x="{i * width:.1f}" y="136" font-size="11" fill="currentColor">{start}</text>'
        for i, (start, _) in enumerate(spread["bars"])
        if i % max(1, len(spread["bars"]) // _MARKED) == 0
    )
    marks = " · ".join(f"{key} {spread[key]}" for key in ("least", "p5", "p50", "p95", "p99", "most"))
    return (
        f"<h3>{escape(t(f'data.length.{name}', lang))}</h3><p>{escape(marks)}</p>"
        f'<svg viewBox="0 0 600 140" role="img">{bars}{labels}</svg>'
    )


def _table(head: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
