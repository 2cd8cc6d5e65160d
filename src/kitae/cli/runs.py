"""`kitae runs`: what there is, and what became of it."""

from __future__ import annotations

from typing import Annotated

import typer

from kitae.cli.help import Group
from kitae.cli.result import Result, grid
from kitae.core.i18n import t

runs_app = typer.Typer(help=t("help.runs"), no_args_is_help=True, rich_markup_mode=None, cls=Group)
RunId = Annotated[str, typer.Argument(help=t("help.run-id"))]


@runs_app.command("list", help=t("help.runs-list"))
def runs_list() -> Result:
    from kitae.cli.show import in_a_line
    from kitae.runs import all_states

    value = [in_a_line(run, state) for run, state in all_states().items()]
    names = ("run", "began", "method", "state", "exact_match", "verdict")
    rows = [
        ["–" if v[name] is None else f"{v[name]:.1%}" if name == "exact_match" else v[name] for name in names] for v in value
    ]
    head = [t(f"runs.{name}") for name in names]
    return Result({"runs": value}, grid([head, *rows]) if value else t("runs.none"))


@runs_app.command("show", help=t("help.runs-show"))
def runs_show(run: RunId) -> Result:
    from kitae.cli.show import describe
    from kitae.runs import find_run

    value = describe(find_run(run))
    return Result(value, grid([[t("runs.run"), value["run"]], *([k, v] for k, v in value.items() if k != "run")]))


@runs_app.command("rm", help=t("help.runs-rm"))
def runs_rm(run: RunId) -> Result:
    from kitae.core.errors import InputError
    from kitae.runs import find_run

    found = find_run(run)
    if found.state == "running":
        raise InputError("run-running", where=found.id)
    found.remove()
    return Result({"removed": found.id}, found.id)
