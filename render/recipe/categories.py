"""Categories of a recipe's annotations."""

from __future__ import annotations

from render.recipe.tables import Part, Recipe
from render.shapes import SHAPES


def categories(recipe: Recipe) -> tuple[str, ...]:
    """Names of the COCO categories, in the order of their ids (from 1)."""
    return recipe.labels.categories or derived(recipe)


def derived(recipe: Recipe) -> tuple[str, ...]:
    """Names that follow from parts and defects, in the order in which the recipe mentions them."""
    names: list[str] = []
    if recipe.labels.parts:
        for part in recipe.parts:
            names += part_categories(part)
    if recipe.labels.defects:
        names += [defect.name or defect.kind for defect in recipe.defects.kinds if defect.label]
    return tuple(dict.fromkeys(names))


def part_categories(part: Part) -> list[str]:
    """Possible categories of the part's instances, digits last."""
    names: list[str] = []
    if part.label == "name":
        names = [part.name]
    elif part.label == "state":
        names = list(SHAPES[part.shape].states)
    elif part.label == "component":
        listed = [c for c in SHAPES[part.shape].components if c] if part.shape else list(part.components)
        given = {c: part.components[c].category for c in listed if c in part.components}
        names = [c if given.get(c) is None else str(given[c]) for c in listed]
    if part.stamp is not None:
        names += list(dict.fromkeys(part.stamp.characters))
    return [name for name in names if name]
