"""Rooms are entered through their doors: what others may use of a room is named in its `__init__`."""

from __future__ import annotations

import ast
import inspect
from importlib import import_module
from pathlib import Path
from typing import get_type_hints, is_typeddict

import pytest

import kitae

SOURCE = Path(kitae.__file__).parent
ROOMS = {path.name for path in SOURCE.iterdir() if path.is_dir() and (path / "__init__.py").exists()} - {"core"}
INNER_DOORS = {"kitae.models.auto", "kitae.models.newllm", "kitae.models.vocabulary"}  # large rooms within a room


def past_doors(path: Path, source: Path = SOURCE) -> list[str]:
    own = path.relative_to(source).parts[0]
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            _, room, *inner = [*name.split("."), ""]
            if room in ROOMS - {own} and any(inner) and not any(name.startswith(door) for door in INNER_DOORS):
                found.append(f"{path.relative_to(source)}:{node.lineno}: {name}")
    return found


def test_no_room_is_entered_past_its_door() -> None:
    assert [found for path in SOURCE.rglob("*.py") for found in past_doors(path)] == []


def test_a_way_past_a_door_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "cli" / "made_up.py"
    path.parent.mkdir()
    path.write_text("from kitae.train.loss import LabelledLoss\n", encoding="utf-8")
    assert past_doors(path, tmp_path) == ["cli/made_up.py:1: kitae.train.loss"]


@pytest.mark.parametrize("room", sorted(room for room in ROOMS if (SOURCE / room / "__init__.pyi").exists()))
def test_what_a_door_names_is_there(room: str) -> None:
    door = import_module(f"kitae.{room}")
    assert door.__all__
    assert all(getattr(door, name) is not None for name in door.__all__)


FUNCTIONS = {
    "blend", "check_recipe", "clean_data", "compare", "evaluate", "export", "generate", "inspect_data", "inspect_tokenizer",
    "licences", "merge", "preview_data", "pull", "quickstart", "register_newllm", "select_data", "ship", "split_data", "sweep",
    "synthesise", "train", "train_tokenizer", "verify", "verify_endpoint",
}  # fmt: skip
ARGUMENTS = {
    "Amount",
    "Budget",
    "Choice",
    "ClientSpec",
    "Growth",
    "Recipe",
    "Settings",
    "Shares",
    "Synthesis",
    "CleaningOptions",
}


def test_the_public_face() -> None:
    results = set(kitae.__all__) - FUNCTIONS - ARGUMENTS
    assert set(kitae.__all__) >= FUNCTIONS | ARGUMENTS
    assert (SOURCE / "py.typed").exists()
    for name in FUNCTIONS:
        function = getattr(kitae, name)
        assert inspect.isfunction(function), name
        assert all(each.annotation is not inspect.Parameter.empty for each in inspect.signature(function).parameters.values())
        returned = get_type_hints(function)["return"]  # which a program may ask for, too
        assert returned is type(None) or returned.__name__ in results, f"{name} -> {returned}"
    for name in results - {"Scores"}:
        assert is_typeddict(getattr(kitae, name)), name


@pytest.mark.parametrize("verb", ["evaluate", "generate", "ship", "train", "verify"])
def test_a_room_that_is_loaded_does_not_take_the_name_of_a_function(verb: str) -> None:
    import_module(f"kitae.{verb}")
    assert inspect.isfunction(getattr(kitae, verb))
