"""`--help` in the reader's language, whole, and no wider than the terminal.

Typer's own is English, cuts what each command does, and counts a Japanese character as one column.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import typer
from typer._click.formatting import HelpFormatter  # what typer.Context.formatter_class has to be made of
from typer.core import TyperGroup

from kitae.cli.result import width
from kitae.core.i18n import t

_HEADINGS = ("Arguments", "Options", "Commands")
_SHOW = "Show this message and exit."
_REMARK = re.compile(r"  \[(.*)\]$")  # behind what an option does
_DEFAULT = "default: "
_GAP = 2
_WIDEST_NAME = 30
_PIECES = re.compile(r"\s+|[!-~]+|.")  # a word of Latin letters stays whole; Japanese may be broken anywhere …
_NEVER_FIRST = "、。）」』】,.)…"  # … but before these


class _Formatter(HelpFormatter):
    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        args = args.replace("[OPTIONS]", t("help.usage-options")).replace("COMMAND [ARGS]...", t("help.usage-command"))
        super().write_usage(prog, args, t("help.usage"))

    def write_heading(self, heading: str) -> None:
        said = (t("help.arguments"), t("help.options"), t("help.commands"))
        super().write_heading(said[_HEADINGS.index(heading)])

    def write_text(self, text: str) -> None:
        indent = " " * self.current_indent
        self.write("".join(f"{indent}{line}\n" for line in folded(text, self.width - len(indent))))

    def write_dl(self, rows: Sequence[tuple[str, str]], col_max: int = _WIDEST_NAME, col_spacing: int = _GAP) -> None:
        indent = " " * self.current_indent
        column = min(max(width(name) for name, _ in rows), col_max) + col_spacing
        for name, told in rows:
            lines = [*folded(_spoken(told), self.width - column - len(indent))]
            if width(name) + col_spacing > column or not lines:
                self.write(f"{indent}{name}\n")
            else:
                self.write(f"{indent}{name}{' ' * (column - width(name))}{lines.pop(0)}\n")
            self.write("".join(f"{indent}{' ' * column}{line}\n" for line in lines))


class _Context(typer.Context):
    formatter_class = _Formatter


class Group(TyperGroup):
    context_class = _Context

    def get_command(self, ctx: typer.Context, cmd_name: str) -> typer.core.TyperCommand | None:  # type: ignore[override]
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            command.context_class = _Context
            command.short_help = command.help  # otherwise made of it, by cutting
        return command  # type: ignore[return-value]


def folded(text: str, columns: int) -> Iterator[str]:
    """Its lines."""
    line = ""
    for piece in _PIECES.findall(" ".join(text.split())):
        if line and width(line + piece) > columns and piece not in _NEVER_FIRST:
            yield line.rstrip()
            line = ""
        line += piece if line or not piece.isspace() else ""
    if line.strip():
        yield line.rstrip()


def _spoken(told: str) -> str:
    if told == _SHOW:
        return t("help.show")
    return _REMARK.sub(lambda found: f" [{'; '.join(map(_remark, found[1].split('; ')))}]", told)


def _remark(said: str) -> str:
    if said.startswith(_DEFAULT):
        return t("help.default", value=said.removeprefix(_DEFAULT))
    return t("help.required") if said == "required" else said
