"""`kitae blend`: several models as one, judged and shipped as a trained one is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from kitae.core.errors import InputError, RecipeError
from kitae.recipe import Blend, in_words, load_recipe
from kitae.targets import run_named
from kitae.workflows.results import TrainReport
from kitae.workflows.training import train


def blend(
    models: Sequence[str],
    how: str = "linear",
    weights: Sequence[float] = (),
    density: float | None = None,
    scale: float | None = None,
    recipe: Path | None = None,
) -> TrainReport:
    """A new run. Its rows, base and limits are those of `recipe`, or else of the first model that is a run."""
    if len(models) < 2:
        raise InputError("blend-two", where=" ".join(models))
    given = {"weights": list(weights) or None, "density": density, "scale": scale}
    settings = {"models": list(models), "how": how, **{name: value for name, value in given.items() if value is not None}}
    try:
        Blend.model_validate(settings)
    except ValidationError as error:
        wrong = (f"{'.'.join(map(str, one['loc']))}: {in_words(one)}" for one in error.errors())
        raise InputError("usage", where=" ".join(models), why="\n".join(wrong)) from error
    like_run = None if recipe is not None else next(filter(None, map(run_named, models)), None)
    path = recipe or (like_run.recipe_path if like_run else None)
    if path is None:
        raise InputError("blend-recipe", where=" ".join(models))
    like = load_recipe(path)
    changes = {"name": f"{like.name[:57]}-blend", "train": {"method": "blend", "blend": settings, "seed": like.train.seed}}
    if like.train.method == "qlora" and like_run:  # what its models have changed is a change of the rounded base
        changes["model"] = {**like.model.model_dump(), "source": like_run.manifest["model"]["folder"]}
    if like.train.method == "soft-prompt":  # what was said of a soft prompt doesn't hold for whole models
        changes["ship"] = {**like.ship.model_dump(), "gguf": None}
    overrides = [f"{key}={json.dumps(value)}" for key, value in changes.items()]
    try:
        load_recipe(path, overrides)
    except RecipeError as error:  # the recipe itself is fine, so it is what was asked for
        wrong = (f"{problem.key.rpartition('.')[2]}: {problem.message}" for problem in error.problems)
        raise InputError("usage", where=" ".join(models), why="\n".join(wrong)) from error
    return train(path, overrides)
