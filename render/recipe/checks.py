"""What a recipe's types cannot say: limits of distributions, and what one table must know of another."""

from __future__ import annotations

import types
import typing
from typing import Any, Union

import msgspec

from render.core.errors import RecipeError
from render.recipe.categories import derived
from render.recipe.distributions import Distribution, Limits, OneOf
from render.recipe.presets import check_defect
from render.recipe.tables import Part, Recipe, Table
from render.shapes import SHAPES


def check(recipe: Recipe) -> None:
    """Refuse a recipe that cannot be rendered; RecipeError with key path, value and what is allowed."""
    _check_limits(recipe, "")
    for number, part in enumerate(recipe.parts):
        _check_part(part, f"parts[{number}]")
    _check_names(recipe)
    _check_defects(recipe)
    _check_labels(recipe)


def _check_part(part: Part, path: str) -> None:
    if bool(part.shape) == bool(part.mesh):
        given = "both" if part.shape else "neither"
        raise RecipeError(f"{path}: expected a shape or a mesh file, got {given}")
    if part.mesh:
        if part.label == "state":
            raise RecipeError(
                f"{path}.label = 'state': a mesh file has no states; expected name or component"
            )
        if part.stamp is not None:
            raise RecipeError(f"{path}.stamp: expected a shape with a face for digits, got a mesh file")
        return
    if part.shape not in SHAPES:
        raise RecipeError(f"{path}.shape = {part.shape!r}: expected one of {', '.join(SHAPES)}")
    _check_shape(part, path)


def _check_shape(part: Part, path: str) -> None:
    shape = SHAPES[part.shape]
    if part.label == "state" and not shape.states:
        raise RecipeError(f"{path}.label = 'state': the shape {part.shape} has no states; expected name")
    if part.stamp is not None and shape.stamped is None:
        raise RecipeError(f"{path}.stamp: the shape {part.shape} has no face for digits")
    if part.stamp is not None and part.stamp.well + part.stamp.partly + part.stamp.poorly <= 0:
        raise RecipeError(f"{path}.stamp: expected a sum of well, partly and poorly above 0, got 0")
    for name in part.components:
        if name not in shape.components:
            has = ", ".join(c for c in shape.components if c) or "none"
            raise RecipeError(f"{path}.components.{name}: unknown component; {part.shape} has {has}")
    for number, form in enumerate(part.forms):
        for name, value in form.values.items():
            where = f"{path}.forms[{number}].values.{name}"
            if name not in shape.parameters:
                raise RecipeError(
                    f"{where} = {msgspec.to_builtins(value)!r}: unknown parameter of {part.shape}; "
                    f"expected one of {', '.join(shape.parameters)}"
                )
            parameter = shape.parameters[name]
            _check_value(value, Limits(parameter.low, parameter.high), where)


def _check_names(recipe: Recipe) -> None:
    for kind, names in (
        ("parts", [part.name for part in recipe.parts]),
        ("cameras", [camera.name for camera in recipe.cameras]),
    ):
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise RecipeError(f"{kind}: expected different names, got {', '.join(twice)} more than once")


def _check_defects(recipe: Recipe) -> None:
    parts = {part.name: part for part in recipe.parts}
    for number, defect in enumerate(recipe.defects.kinds):
        path = f"defects.kinds[{number}]"
        check_defect(defect, path)
        for place in defect.on:
            name, _, component = place.partition("/")
            if name not in parts:
                raise RecipeError(
                    f"{path}.on = {place!r}: no such part; expected of {', '.join(sorted(parts))}"
                )
            part = parts[name]
            # What a mesh file holds is known once it is read.
            if component and part.shape and component not in SHAPES[part.shape].components:
                has = ", ".join(c for c in SHAPES[part.shape].components if c) or "none"
                raise RecipeError(f"{path}.on = {place!r}: unknown component; {part.shape} has {has}")


def _check_labels(recipe: Recipe) -> None:
    if not recipe.labels.parts and not recipe.labels.defects:
        raise RecipeError("labels: expected parts or defects to be labelled, got neither")
    known = derived(recipe)
    if not known:
        raise RecipeError("labels: nothing in the recipe is labelled; give a part a label, or add defects")
    named = recipe.labels.categories
    if named and (absent := [name for name in known if name not in named]):
        raise RecipeError(
            f"labels.categories = {list(named)!r}: missing {', '.join(absent)}, which the recipe labels"
        )


def _check_limits(table: msgspec.Struct, prefix: str) -> None:
    hints = typing.get_type_hints(type(table), include_extras=True)
    for name in table.__struct_fields__:
        value, path = getattr(table, name), f"{prefix}{name}"
        for rule in _rules(hints[name]):
            _check_value(value, rule, path)
        if isinstance(value, tuple):
            for number, item in enumerate(value):
                if isinstance(item, Table):
                    _check_limits(item, f"{path}[{number}].")
        elif isinstance(value, dict):
            for key, item in value.items():
                if isinstance(item, Table):
                    _check_limits(item, f"{path}.{key}.")
        elif isinstance(value, Table):
            _check_limits(value, f"{path}.")


def _rules(hint: Any) -> tuple[Any, ...]:
    """Limits of a field, also inside `Annotated[...] | None`."""
    found: tuple[Any, ...] = getattr(hint, "__metadata__", ())
    if typing.get_origin(hint) in (Union, types.UnionType):
        for inner in typing.get_args(hint):
            found += getattr(inner, "__metadata__", ())
    return found


def _check_value(value: Any, rule: object, path: str) -> None:
    if value is None:
        return
    extremes = value.extremes() if isinstance(value, Distribution) else (value,)
    for extreme in extremes:
        if isinstance(rule, OneOf) and extreme not in rule.words:
            raise RecipeError(f"{path} = {extreme!r}: expected one of {', '.join(rule.words)}")
        if isinstance(rule, Limits):
            if not isinstance(extreme, int | float):
                raise RecipeError(f"{path} = {extreme!r}: expected a number")
            if not rule.low <= extreme <= rule.high:
                raise RecipeError(f"{path} reaches {extreme:g}: expected {rule.low:g} to {rule.high:g}")
