"""From what a user types to a `Target`: a run, a folder, an adapter, a GGUF file, a starter or a hub id; or to the `Address` of
an endpoint, whose model isn't on this disk. Nothing else asks what a name is."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from kitae.core.errors import InputError
from kitae.models import (
    STARTERS,
    Design,
    Target,
    base_of,
    check_folder,
    create_model,
    is_adapter,
    is_model_folder,
    locate,
    locate_tokenizer,
    rounded,
)
from kitae.recipe import Recipe, load_recipe
from kitae.runs import Run, all_runs, find_run, is_run

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_SHOWN = 5


@dataclass(frozen=True)
class Address:
    """Of an OpenAI-compatible endpoint, as a user writes it: its URL, # and the model."""

    url: str
    model: str


def address_named(name: str) -> Address | None:
    if "://" not in name:
        return None
    url, _, model = name.partition("#")
    if not model:
        raise InputError("endpoint-model", where=url)
    return Address(url, model)


def server_named(name: str) -> tuple[str, str | None]:
    """Where a running server's routes begin, and the model if one stands behind a #. Most have them under /v1."""
    url, _, model = name.strip().partition("#")
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        _ = parts.port  # which is read only now
    except ValueError as error:
        raise InputError("endpoint-url", where=url, why=str(error)) from error
    path = parts.path.rstrip("/")
    for route in ("/chat/completions", "/models"):
        path = path.removesuffix(route)
    return urlunsplit(parts._replace(path=path or "/v1")), model or None


def run_named(name: str) -> Run | None:
    return find_run(name) if is_run(name) else None


def resolve(name: str, trained: bool = False, template: str | None = None) -> Target:
    """Of a run, the smallest file that was shipped, or with `trained` what training left. `template`: instead of its own."""
    run = run_named(name)
    target = _named(name) if run is None else _of_run(run, trained)
    if template is None:
        return target
    file = Path(template).expanduser()  # what is asked in another process is asked from another folder
    return replace(target, template=str(file.absolute()) if file.is_file() else template)


def _of_run(run: Run, trained: bool) -> Target:
    files = [] if trained else sorted(run.ship.glob("*.gguf"), key=lambda path: path.stat().st_size)
    if not files:
        return trained_target(run)
    stops = tuple(load_recipe(run.recipe_path).model.stop_tokens)
    return Target(files[0], run.id, system=run.manifest.get("system"), stops=stops)


def trained_target(run: Run) -> Target:
    """What training left."""
    if not run.output.exists():
        raise InputError("run-untrained", where=run.id, why=run.state)
    base = replace(base_target(run), system=run.manifest.get("system"), name="trained")
    return replace(base, path=run.output, base=base.path if is_adapter(run.output) else None)


def base_target(run: Run) -> Target:
    """What training began with, asked in the way of the run."""
    recipe = load_recipe(run.recipe_path)
    return Target(base_folder(recipe, run), "base", None, recipe.model.chat_template, None, tuple(recipe.model.stop_tokens))


def _named(name: str) -> Target:
    path = Path(name).expanduser()
    if path.suffix == ".gguf" and path.is_file():
        return Target(path.absolute(), name)
    if path.is_dir() and is_adapter(path):
        return Target(path.absolute(), name, base_of(path))
    if name not in STARTERS and path.suffix != ".gguf" and not path.exists() and not _HUB_ID.fullmatch(name):
        raise InputError("model-missing", where=name, why="\n".join([*(run.id for run in all_runs()[:_SHOWN]), *STARTERS]))
    return Target(locate(name), name)


def base_folder(recipe: Recipe, run: Run) -> Path:
    """The model that is trained. Once a run has begun it is the very folder it began with, also when a hub moves on."""
    new = recipe.model.new
    if new is not None:
        if not is_model_folder(run.start):
            tokenizer = locate_tokenizer(new.tokenizer)
            create_model(Design(**new.design), tokenizer, recipe.model.max_length, recipe.train.seed, run.start)
        return run.start
    if run.has_manifest:
        recorded = Path(run.manifest["model"]["folder"])
        if is_model_folder(recorded):
            check_folder(recorded)
            return recorded
    folder = locate(recipe.model.source)
    return rounded(folder) if recipe.train.method == "qlora" else folder
