"""The front door: reads the flags that every command takes, runs one command, prints one result, picks the exit code."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kitae import __version__
from kitae.core import processes
from kitae.core.console import console
from kitae.core.errors import EXIT_FAILED, EXIT_INTERRUPTED, InputError, KitaeError
from kitae.core.files import explained
from kitae.core.i18n import LANGUAGES, set_language, t


@dataclass
class Flags:
    json: bool = False


def main() -> None:
    os.environ.setdefault("TQDM_DISABLE", "1")  # read when tqdm is first imported, by whichever library
    if not processes.is_first():  # of several that train together, the first speaks
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - open as long as the process lives
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name that is no text must not break the output
        sys.stdout.reconfigure(errors="backslashreplace")
    if isinstance(sys.stdin, io.TextIOWrapper):  # whoever reads it says which line is no text
        sys.stdin.reconfigure(errors="surrogateescape")
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    flags = Flags()
    try:
        rest = _take_flags(list(arguments), flags)
        console.command = shlex.join(["kitae", *rest])
        return _run(rest, flags)
    except KitaeError as error:
        return _failed(error, flags)
    except KeyboardInterrupt:
        return _failed_with("interrupted", EXIT_INTERRUPTED, t("error.interrupted.message", run=""), flags)
    except BrokenPipeError:  # the reader of a pipe went away, which is its right
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except MemoryError:
        return _failed(KitaeError("memory"), flags)
    except Exception as error:
        if console.debug:
            raise
        return _failed(KitaeError("unexpected", why=f"{type(error).__name__}: {error}"), flags)
    finally:
        console.command = ""


def _run(arguments: list[str], flags: Flags) -> int:
    from typer.exceptions import Exit, TyperException

    from kitae.cli.commands import app
    from kitae.cli.result import Result

    shown = io.StringIO()
    try:
        with contextlib.redirect_stdout(shown) if flags.json else contextlib.nullcontext():
            version = Result({"version": __version__}, f"kitae {__version__}")
            asked = arguments or ["--help"]
            result = version if asked == ["--version"] else app(asked, standalone_mode=False, prog_name="kitae")
    except TyperException as error:
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        return _failed(InputError("usage", why=message), flags)
    except Exit as error:
        return int(error.exit_code)
    if not isinstance(result, Result):
        if result == EXIT_INTERRUPTED:  # typer swallowed Ctrl-C
            raise KeyboardInterrupt
        if flags.json:
            print(json.dumps({"help": shown.getvalue()}, ensure_ascii=False))
        return int(result or 0)
    if flags.json or result.text:
        _print(json.dumps(result.value, ensure_ascii=False) if flags.json else result.text)
    return result.exit_code


def _print(text: str) -> None:
    with explained(Path("stdout")):  # which may be a file on a full disk
        print(text, flush=True)


def _take_flags(arguments: list[str], flags: Flags) -> list[str]:
    """--json, --quiet, --debug and --lang may stand anywhere before a bare `--`."""
    rest: list[str] = []
    unknown: str | None = None
    while arguments:
        argument = arguments.pop(0)
        if argument == "--":
            rest += [argument, *arguments]
            break
        if argument == "--json":
            flags.json = console.quiet = True
        elif argument == "--quiet":
            console.quiet = True
        elif argument == "--debug":
            console.debug = True
        elif argument == "--lang" or argument.startswith("--lang="):
            value = argument[7:] if "=" in argument else (arguments.pop(0) if arguments else "")
            if value not in LANGUAGES:
                unknown = value
            else:
                set_language(value)
        else:
            rest.append(argument)
    if unknown is not None:  # said last, so that --json after it counts
        raise InputError("language", where=unknown, why=", ".join(LANGUAGES))
    return rest


def _failed(error: KitaeError, flags: Flags) -> int:
    if console.debug and not isinstance(error, InputError):
        import traceback

        traceback.print_exc()
    if flags.json:
        print(json.dumps({"error": error.as_dict()}, ensure_ascii=False))
        return error.exit_code
    bold, plain = ("\x1b[1;31m", "\x1b[0m") if console.coloured else ("", "")
    lines = [f"{bold}✗ {error.message}{plain}"]
    if error.where:
        lines.append(f"  {t('error.where')}: {error.where}")
    if error.why:
        lines += [f"  {line}" for line in error.why.splitlines()[:24]]
    if error.fix:
        lines.append(f"  → {error.fix}")
    console.error("\n".join(lines))
    return error.exit_code


def _failed_with(kind: str, code: int, message: str, flags: Flags) -> int:
    if flags.json:
        print(json.dumps({"error": {"kind": kind, "message": message, "where": "", "why": "", "fix": ""}}))
    else:
        console.error(message)
    return code


if __name__ == "__main__":
    main()
