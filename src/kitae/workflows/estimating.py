"""`kitae recipe check`: what can be wrong with a recipe, and how much memory and time it wants."""

from __future__ import annotations

from kitae.core.libraries import quiet_libraries
from kitae.recipe import Recipe
from kitae.train import check_parts, check_template, find_packages, names_parts
from kitae.workflows.results import RecipeCheck
from kitae.workflows.rows import gather_rows


def check_recipe(recipe: Recipe) -> RecipeCheck:
    """By file headers and settings alone; no weights are loaded."""
    from kitae.train import estimate
    from kitae.verify import licence_gate

    find_packages(recipe.train)
    check_template(recipe)
    if names_parts(recipe):
        quiet_libraries()
        check_parts(recipe)
    licence = licence_gate(recipe).as_dict()  # training would say the same, after the base was asked
    return {**estimate(recipe, gather_rows(recipe, reading=False)), "licence": licence}
