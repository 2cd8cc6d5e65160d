"""Reading a recipe: YAML with line numbers in, a `Recipe` or all of its mistakes at once out."""

from __future__ import annotations

import copy
import difflib
import os
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from kitae.core.errors import Problem, RecipeError, first_line
from kitae.core.files import read_text
from kitae.core.i18n import t
from kitae.recipe.rules import contradictions
from kitae.recipe.schema import Recipe
from kitae.recipe.wrong import in_words

KeyPath = tuple[str | int, ...]
_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = 80


class _Loader(yaml.SafeLoader):
    """Names the line of a value that looks like a date or a number and is none."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError) as error:
            raise yaml.constructor.ConstructorError(None, None, str(error), node.start_mark) from error


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of a file, with `key.path=value` overrides applied."""
    recipe = parse_recipe(read_text(path), str(path), overrides)
    return resolve_paths(recipe, path.parent, str(path))


def parse_recipe(text: str, name: str, overrides: Sequence[str] = ()) -> Recipe:
    problems: list[Problem] = []
    lines: dict[KeyPath, str] = {}
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is not None:
            _note_lines(node, (), name, lines, problems, set())
        raw = yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{name}:{mark.line + 1}" if mark else name
        raise RecipeError(name, [Problem(f"{error.problem or error}", where)]) from error
    except yaml.YAMLError as error:
        raise RecipeError(name, [Problem(first_line(error), name)]) from error
    except RecursionError as error:
        raise RecipeError(name, [Problem(t("recipe.too-deep"), name)]) from error
    if raw is None:
        raw = {}
    if not isinstance(raw, dict):
        raise RecipeError(name, [Problem(t("recipe.not-a-mapping", found=type(raw).__name__), f"{name}:1")])
    for override in overrides:
        _apply(raw, override, lines, problems)

    recipe, invalid = _validate(raw)
    problems += [_explain(error, raw, lines, name) for error in invalid]
    if recipe is None:
        recipe = _without_mistakes(raw, invalid)
    if recipe is not None:
        problems += [Problem(message, _line(key, lines, name), _dotted(key)) for key, message in contradictions(recipe)]
    if problems or recipe is None:
        raise RecipeError(name, problems)
    return recipe


def resolve_paths(recipe: Recipe, folder: Path, name: str) -> Recipe:
    """Relative paths in a recipe are relative to the recipe, wherever the command is run.

    Only now can two spellings of one file be told to be the same.
    """
    value = recipe.model_dump()
    model, data = value["model"], value["data"]
    sources = [*data["train"], *data["test"]]
    sources += data["validation"] if isinstance(data["validation"], list) else []
    for source in sources:
        source["path"] = _absolute(folder, source["path"])
    for section, key in ((data, "evaluations"), (data["select"] or {}, "targets")):
        if section:
            section[key] = [_absolute(folder, name) for name in section[key]]
    if model["chat_template"]:
        model["chat_template"] = str((folder / Path(model["chat_template"]).expanduser()).absolute())
    named: list[tuple[Any, Any]] = [(model, "source")] if model["new"] is None else [(model["new"], "tokenizer")]
    if data["select"]:
        named += [(data["select"], name) for name in ("model", "judge") if data["select"][name]]
    if value["train"]["distill"]:
        named.append((value["train"]["distill"], "teacher"))
    if value["train"]["blend"]:
        named += [(value["train"]["blend"]["models"], i) for i in range(len(value["train"]["blend"]["models"]))]
    for section, key in named:
        if os.path.exists(folder / section[key]):  # noqa: PTH110 - takes names that no file can have
            section[key] = str((folder / section[key]).absolute())
    resolved = Recipe.model_validate(value)
    problems = [Problem(message, name, _dotted(key)) for key, message in contradictions(resolved)]
    if problems:
        raise RecipeError(name, problems)
    return resolved


def _absolute(folder: Path, name: str) -> str:
    return name if name.startswith("hub:") else os.path.normpath((folder / Path(name).expanduser()).absolute())


def recipe_yaml(recipe: Recipe) -> str:
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _note_lines(
    node: yaml.Node, path: KeyPath, name: str, lines: dict[KeyPath, str], problems: list[Problem], seen: set[int]
) -> None:
    lines.setdefault(path, f"{name}:{node.start_mark.line + 1}")
    if id(node) in seen:  # an alias, perhaps of what it stands in
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        for key_node, value_node in node.value:
            key = (*path, str(key_node.value))
            where = f"{name}:{key_node.start_mark.line + 1}"
            if key in lines:
                problems.append(Problem(t("recipe.twice", first=lines[key]), where, _dotted(key)))
            lines[key] = where
            _note_lines(value_node, key, name, lines, problems, seen)
    elif isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            _note_lines(item, (*path, i), name, lines, problems, seen)


def _apply(raw: dict[str, Any], override: str, lines: dict[KeyPath, str], problems: list[Problem]) -> None:
    key, equals, text = override.partition("=")
    where = f"--set {override}"
    parts: KeyPath = tuple(int(p) if p.isdecimal() else p for p in key.strip().split("."))
    try:
        if not equals or not key.strip():
            raise ValueError(t("recipe.set-form"))
        value = yaml.load(text, _Loader)
        target: Any = raw
        for part, following in pairwise(parts):
            if isinstance(target, dict) and target.get(part) is None:
                target[part] = [] if isinstance(following, int) else {}
            target = target[part]
        target[parts[-1]] = value
    except (ValueError, TypeError, LookupError, RecursionError, yaml.YAMLError) as error:
        message = error.problem if isinstance(error, yaml.MarkedYAMLError) else None
        if isinstance(error, (TypeError, LookupError)):
            message = t("recipe.set-into")
        problems.append(Problem(message or str(error), where, key))
        return
    for inner in [key for key in lines if key[: len(parts)] == parts]:  # what stood in the file there doesn't any more
        del lines[inner]
    lines[parts] = where
    for length in range(1, len(parts)):
        lines.setdefault(parts[:length], where)


def _validate(raw: Mapping[str, Any]) -> tuple[Recipe | None, list[ErrorDetails]]:
    try:
        return Recipe.model_validate(raw), []
    except ValidationError as error:
        return None, _distinct(error.errors(), raw)


def _distinct(errors: Sequence[ErrorDetails], raw: object) -> list[ErrorDetails]:
    """One error a place. Of a union's members, the one whose complaint goes deepest is the one that was meant."""
    paths = [tuple(_real_path(error, raw)) for error in errors]
    kept: dict[KeyPath, ErrorDetails] = {}
    for error in errors:
        error["msg"] = in_words(error)
    for path, error in zip(paths, errors, strict=True):
        in_union = len(error["loc"]) > len(path)
        if in_union and any(len(other) > len(path) and other[: len(path)] == path for other in paths):
            continue
        if path in kept:
            kept[path]["msg"] += f" / {error['msg']}"
        else:
            kept[path] = error
    return list(kept.values())


def _without_mistakes(raw: dict[str, Any], invalid: Sequence[ErrorDetails]) -> Recipe | None:
    """The recipe with its broken values left out, so that contradictions among the others are found in the same go."""
    rest: Any = copy.deepcopy(raw)
    for path in sorted((_real_path(error, raw) for error in invalid), key=len, reverse=True):
        *parents, last = path or [""]
        target = rest
        for part in parents:
            target = target[part]
        if isinstance(target, dict):
            target.pop(last, None)
    return _validate(rest)[0]


def _real_path(error: ErrorDetails, raw: object) -> list[str | int]:
    """The error's path without the names of union members, which pydantic mixes in."""
    path: list[str | int] = []
    value = raw
    for part in error["loc"]:
        if isinstance(value, Mapping) and (part in value or error["type"] == "missing"):
            path.append(part)
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            path.append(part)
            value = value[part]
    return path


def _explain(error: ErrorDetails, raw: object, lines: dict[KeyPath, str], name: str) -> Problem:
    path = tuple(_real_path(error, raw))
    where = _line(path, lines, name)
    if error["type"] == "extra_forbidden":
        known = _fields_at(path[:-1])
        initials = [key for key in known if "".join(word[0] for word in key.split("_")) == path[-1]]  # lr: learning_rate
        elsewhere = [place for place in _places() if place[-1] == path[-1]]
        if elsewhere and not initials:
            return Problem(t("recipe.unknown-key"), where, _dotted(path), t("recipe.did-you-mean", key=_dotted(elsewhere[0])))
        close = initials or difflib.get_close_matches(str(path[-1]), known, n=1, cutoff=0.5)
        fix = t("recipe.did-you-mean", key=close[0]) if close else t("recipe.known-keys", keys=", ".join(known))
        return Problem(t("recipe.unknown-key"), where, _dotted(path), fix)
    if error["type"] == "missing":
        return Problem(t("recipe.missing-key"), where, _dotted(path))
    return Problem(f"{error['msg']} ({t('recipe.found')}: {_BRIEF.repr(error['input'])})", where, _dotted(path))


def _fields_at(path: KeyPath) -> list[str]:
    """The keys that a section of the schema knows."""
    models: list[type[BaseModel]] = [Recipe]
    for part in path:
        if isinstance(part, int):
            continue
        models = [m for model in models if part in model.model_fields for m in _models_in(model.model_fields[part].annotation)]
    return [key for model in models for key in model.model_fields]


def _places() -> Iterator[KeyPath]:
    """Every key of the schema that is no list's, with the section that it stands in."""
    open_: list[tuple[KeyPath, type[BaseModel]]] = [((), Recipe)]
    while open_:
        path, model = open_.pop(0)
        for name, field in model.model_fields.items():
            yield (*path, name)
            if get_origin(field.annotation) is not list:
                open_ += [((*path, name), inner) for inner in _models_in(field.annotation) if len(path) < 3]


def _models_in(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (list, Union) or get_args(annotation):
        return [model for argument in get_args(annotation) for model in _models_in(argument)]
    return []


def _line(path: KeyPath, lines: dict[KeyPath, str], name: str) -> str:
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, f"{name}:1")


def _dotted(path: KeyPath) -> str:
    return ".".join(map(str, path))
