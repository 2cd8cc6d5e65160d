"""`kitae verify`, `merge`, `export` and `ship`."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kitae.core.console import console
from kitae.core.errors import InputError, KitaeError
from kitae.core.files import refuse_taken, staged_file, staged_folder
from kitae.core.i18n import t
from kitae.core.libraries import quiet_libraries
from kitae.models import locate, read_gguf_header
from kitae.recipe import load_recipe
from kitae.runs import find_run
from kitae.targets import run_named
from kitae.workflows.results import Exported, Merged, ShipReport, VerdictResult

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def verify(target: str, against: str | None = None, only: Sequence[str] = (), template: str | None = None) -> VerdictResult:
    quiet_libraries()
    from kitae.verify import verify_target

    return verify_target(target, against, only, template).as_dict()


def verify_endpoint(
    url: str,
    against: str,
    only: Sequence[str] = (),
    template: str | None = None,
    key_env: str = "OPENAI_API_KEY",
    timeout: float = 120.0,
) -> VerdictResult:
    """Whether the server at `url` (# and a model, if it has several) says what the run or model `against` says here.
    `key_env`: the environment variable that holds its key. `timeout`: seconds for one reply."""
    quiet_libraries()
    from kitae.ask import key_in
    from kitae.verify import verify_endpoint

    return verify_endpoint(url, against, only, template, key_in(key_env), timeout).as_dict()


def merge(run: str) -> Merged:
    quiet_libraries()
    from kitae.ship import Chain

    found = find_run(run)
    with found.alone():
        folder = Chain(found, []).make_merged()
    return {"run": found.id, "folder": str(folder)}


def export(target: str, quant: str, out: Path | None = None) -> Exported:
    """A GGUF file of a run, a model folder, a hub id or an F16 GGUF file."""
    quiet_libraries()
    from kitae.ship import Chain, general_sequences, importance, quantise, to_gguf, weighs

    if out is not None and out.is_dir():
        raise InputError("not-writable", where=str(out), why=os.strerror(errno.EISDIR))
    if run := run_named(target):
        with run.alone():
            path = Chain(run, [quant]).make_gguf(quant)
        if out is not None:
            with staged_file(out) as stage:
                shutil.copyfile(path, stage)
            path = out
        return {"file": str(path), "size_mb": round(path.stat().st_size / 1e6, 1)}
    source = Path(target).expanduser()
    packed = source.suffix == ".gguf"
    if packed:
        read_gguf_header(source)
    folder = None if packed else locate(target)
    path = out or Path(f"{folder.name if folder else source.stem}-{quant}.gguf").absolute()
    if folder is None:
        quantise(source, path, quant, _importance_of(source, quant))
    elif quant == "F16":
        to_gguf(folder, path)
    else:
        plain = path.with_name(f".{path.name}.{os.getpid()}.gguf")  # a name that no file of the user's has
        try:
            matters = importance(folder, general_sequences(folder), quant) if weighs(quant) else None
            quantise(to_gguf(folder, plain), path, quant, matters)
        finally:
            plain.unlink(missing_ok=True)
    return {"file": str(path), "size_mb": round(path.stat().st_size / 1e6, 1)}


def _importance_of(file: Path, quant: str) -> dict[str, npt.NDArray[np.float32]] | None:
    """Of a plain GGUF file, which has to become a model that can be run for it; without, if that can't be."""
    from kitae.ship import check_plain, general_sequences, importance, weighs

    check_plain(file)
    if not weighs(quant):
        return None
    try:
        folder = locate(str(file))
        return importance(folder, general_sequences(folder), quant)
    except KitaeError as error:
        console.say(f"! {t('say.no-importance')} {error.message}")
        return None


def ship(run: str, quants: Sequence[str] = (), out: Path | None = None) -> ShipReport:
    """The whole proof chain. Returns the report; raises `Refused`, leaving a report and no package, when a gate says no."""
    quiet_libraries()
    from kitae.ship import Chain

    found = find_run(run)
    recipe = load_recipe(found.recipe_path)
    out = out.absolute() if out is not None else None
    if out is not None:
        refuse_taken(out)
    with found.alone():
        report = Chain(found, quants or recipe.quants).run_all()
    if out is not None:
        with staged_folder(out) as stage:
            shutil.copytree(found.ship, stage, dirs_exist_ok=True)
        report["package"] = str(out)
    return report
