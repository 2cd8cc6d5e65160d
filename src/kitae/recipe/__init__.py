"""What the user asked for: typed, defaults filled, every mistake with its line."""

from kitae.recipe.load import load_recipe, parse_recipe, recipe_yaml, resolve_paths
from kitae.recipe.schema import (
    NO_GGUF,
    STARTER,
    Evaluate,
    New,
    Recipe,
    Source,
)
from kitae.recipe.starter import commented_recipe
from kitae.recipe.thresholds import Thresholds
from kitae.recipe.training import Blend, Distillation, Phases, Train
from kitae.recipe.wrong import in_words

__all__ = [
    "NO_GGUF",
    "STARTER",
    "Blend",
    "Distillation",
    "Evaluate",
    "New",
    "Phases",
    "Recipe",
    "Source",
    "Thresholds",
    "Train",
    "commented_recipe",
    "in_words",
    "load_recipe",
    "parse_recipe",
    "recipe_yaml",
    "resolve_paths",
]
