"""Which files a source names: a file, a folder, or a pattern."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from kitae.core.errors import InputError
from kitae.core.files import hash_text, refuse_taken, sha256
from kitae.data.read.hub import hub_files, is_hub
from kitae.data.read.opening import bare_suffix

_DATA = {".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".txt"}


def files_of(path: Path) -> list[Path]:
    """In the order of their names. Of a folder, all that hold data, however deep."""
    if is_hub(path):
        return hub_files(path, _DATA)
    try:
        if path.is_dir():
            found = [file for file in path.rglob("*") if bare_suffix(file) in _DATA and not _hidden(file, path)]
        elif path.exists() or not glob.has_magic(str(path)):
            return [path]
        else:
            found = [Path(file) for file in glob.glob(str(path), recursive=True)]  # noqa: PTH207 - it may begin anywhere
    except ValueError:  # no name of a file; whoever opens it says so
        return [path]
    found = [file for file in found if file.is_file()]
    if not found:
        raise InputError("no-files", where=str(path), why=" ".join(sorted(_DATA)))
    return sorted(found)


def _hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


def contents(sources: Sequence[Path]) -> str:
    """A name for what is asked for and what is in those files; not for when they were written, which copies keep."""
    files = [file for source in sources for file in files_of(source) if is_hub(file) or file.is_file()]
    known = (
        str(file) if is_hub(file) else f"{file} {sha256(file)}" for file in files
    )  # a revision of the hub stays what it is
    return hash_text(*map(str, sources), *known)


def check_out(out: Path, sources: Sequence[Path]) -> None:
    """Inside of a folder that is read it would be read the next time."""
    if out.is_file():
        raise InputError("exists", where=str(out))
    refuse_taken(out)
    inside = next((source for source in sources if source.is_dir() and out.resolve().is_relative_to(source.resolve())), None)
    if inside is not None:
        raise InputError("out-inside", where=str(out), why=str(inside))
