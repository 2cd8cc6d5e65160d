"""What the user asked for: typed, defaults filled, every mistake with its line."""

from kitae.recipe.load import load_recipe, parse_recipe, recipe_yaml, resolve_paths
from kitae.recipe.schema import NO_GGUF, QUANTS, STARTER, Blend, Evaluate, New, Phases, Recipe, Source, Thresholds, Train
from kitae.recipe.starter import commented_recipe

__all__ = [
    "NO_GGUF",
    "QUANTS",
    "STARTER",
    "Blend",
    "Evaluate",
    "New",
    "Phases",
    "Recipe",
    "Source",
    "Thresholds",
    "Train",
    "commented_recipe",
    "load_recipe",
    "parse_recipe",
    "recipe_yaml",
    "resolve_paths",
]
