"""Settings that are fine alone and wrong together."""

from __future__ import annotations

from collections.abc import Iterator

from kitae.i18n import t
from kitae.recipe.schema import Recipe

KeyPath = tuple[str | int, ...]


def contradictions(recipe: Recipe) -> Iterator[tuple[KeyPath, str]]:
    train, data = recipe.train, recipe.data
    if train.method == "full" and train.lora is not None:
        yield ("train", "lora"), t("recipe.lora-with-full")
    if isinstance(data.validation, list) and not data.validation:
        yield ("data", "validation"), t("recipe.no-validation")
    used = {source.path: "data.train" for source in data.train}
    held_out = list(enumerate(data.validation)) if isinstance(data.validation, list) else []
    for part, sources in (("validation", held_out), ("test", list(enumerate(data.test)))):
        for i, source in sources:
            if source.path in used:
                yield ("data", part, i, "path"), t("recipe.same-file", path=source.path, part=used[source.path])
        used |= {source.path: f"data.{part}" for _, source in sources}
    if "exact_match" in recipe.evaluate.suites and not data.test:
        yield ("evaluate", "suites"), t("recipe.suite-without-test")
