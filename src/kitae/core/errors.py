"""What went wrong, for a person: what happened, where, why, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kitae.core.i18n import t

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_WRONG_INPUT = 2
EXIT_REFUSED = 3
EXIT_INTERRUPTED = 130


class KitaeError(Exception):
    """Something failed while running. `kind` names a sentence of the message catalogue: `error.<kind>`."""

    exit_code = EXIT_FAILED

    def __init__(self, kind: str, *, where: str = "", why: str = "", **fields: object) -> None:
        self.kind = kind
        self.fields = fields
        self.where = where
        self.why = why
        super().__init__(self.message)

    @property
    def message(self) -> str:
        return t(f"error.{self.kind}.message", where=self.where, **self.fields)

    @property
    def fix(self) -> str:
        return t(f"error.{self.kind}.fix", where=self.where, **self.fields)

    def __reduce__(self) -> tuple[object, ...]:
        """It comes whole from a process that helps."""
        return _again, (type(self), self.args, self.__dict__)

    def as_dict(self) -> dict[str, object]:
        return {"kind": self.kind, "message": self.message, "where": self.where, "why": self.why, "fix": self.fix}


def _again(kind: type[KitaeError], said: tuple[object, ...], fields: dict[str, object]) -> KitaeError:
    error = kind.__new__(kind, *said)
    error.__dict__.update(fields)
    return error


class InputError(KitaeError):
    """The command line, recipe or input is wrong; nothing was started."""

    exit_code = EXIT_WRONG_INPUT


# Those that somebody waits for have a type of their own.


class RunBusy(InputError):
    """Another process works on the run."""


class BadTemplate(InputError):
    """A chat template fails."""


class BadRow(InputError):
    """A row has none of the forms that are read."""


class ContextFull(InputError):
    """There is no room left for an answer."""


class BadConstraint(InputError):
    """A schema or grammar that answers can't be held to: it says something that isn't supported, or nothing fits it."""


class NotText(InputError):
    """What was typed or sent holds bytes that are no text."""


class Interrupted(KitaeError):
    """It was asked to stop, and has saved what it had."""

    exit_code = EXIT_INTERRUPTED


class Refused(KitaeError):
    """A gate refused. Carries the gate results that did, as JSON values."""

    exit_code = EXIT_REFUSED

    def __init__(self, kind: str, gates: Sequence[Mapping[str, object]], **fields: object) -> None:
        self.gates = list(gates)
        where, why = str(fields.pop("where", "")), str(fields.pop("why", ""))
        super().__init__(kind, where=where, why=why, gates=", ".join(str(g["id"]) for g in gates), **fields)

    def as_dict(self) -> dict[str, object]:
        return {**super().as_dict(), "gates": self.gates}


@dataclass(frozen=True)
class Problem:
    """One mistake in a file that a person wrote."""

    message: str
    where: str = ""
    key: str = ""
    fix: str = ""


class RecipeError(InputError):
    """All of a recipe's mistakes at once."""

    def __init__(self, path: str, problems: Sequence[Problem]) -> None:
        self.problems = list(problems)
        why = "\n".join(
            f"{p.where}: {p.key + ': ' if p.key else ''}{p.message}" + (f" {p.fix}" if p.fix else "") for p in problems
        )
        super().__init__("recipe", where=path, why=why, count=len(self.problems))

    def as_dict(self) -> dict[str, object]:
        return {**super().as_dict(), "problems": [p.__dict__ for p in self.problems]}


def first_line(error: Exception) -> str:
    """What another library says is wrong, in a line; some say nothing but the kind."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
