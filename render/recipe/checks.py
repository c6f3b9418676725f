"""Checks beyond types: ranges of distributions, and references between tables."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Any

import msgspec

from render.core.errors import RecipeError
from render.recipe.categories import derived
from render.recipe.distributions import Distribution, Limits, OneOf, Scalar, rules_of
from render.recipe.outlines import parameters
from render.recipe.presets import PRESETS
from render.recipe.tables import Defect, Part, Recipe, Table
from render.shapes import SHAPES
from render.shapes.kernels.surface import Parameter


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
        _check_numbers(form.values, shape.parameters, part.shape, f"{path}.forms[{number}].values")


def check_defect(defect: Defect, path: str) -> None:
    """Raise RecipeError when the kind or one of `values` is unknown, or a value out of range."""
    if defect.kind not in PRESETS:
        raise RecipeError(
            f"{path}.kind = {defect.kind!r}: unknown; expected one of {', '.join(sorted(PRESETS))}"
        )
    known = parameters(PRESETS[defect.kind].outline)
    _check_numbers(defect.values, known, defect.kind, f"{path}.values")


def _check_numbers(
    values: Mapping[str, Scalar], known: Mapping[str, Parameter], owner: str, path: str
) -> None:
    for name, value in values.items():
        if name not in known:
            raise RecipeError(
                f"{path}.{name} = {msgspec.to_builtins(value)!r}: unknown parameter of {owner}; "
                f"expected one of {', '.join(known)}"
            )
        _check_value(value, known[name], f"{path}.{name}")


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
        for rule in rules_of(hints[name]):
            _check_value(value, rule, path)
        inner: dict[str, Any] = {"": value}
        if isinstance(value, tuple):
            inner = {f"[{number}]": item for number, item in enumerate(value)}
        elif isinstance(value, dict):
            inner = {f".{key}": item for key, item in value.items()}
        for place, item in inner.items():
            if isinstance(item, Table):
                _check_limits(item, f"{path}{place}.")


def _check_value(value: Any, rule: Limits | OneOf | Parameter, path: str) -> None:
    if value is None:
        return
    for extreme in value.extremes() if isinstance(value, Distribution) else (value,):
        if isinstance(rule, OneOf):
            if extreme not in rule.words:
                raise RecipeError(f"{path} = {extreme!r}: expected one of {', '.join(rule.words)}")
        elif not isinstance(extreme, int | float):
            raise RecipeError(f"{path} = {extreme!r}: expected a number")
        elif not rule.low <= extreme <= rule.high:
            meaning = f" ({rule.meaning})" if isinstance(rule, Parameter) else ""
            raise RecipeError(f"{path} reaches {extreme:g}: expected {rule.low:g} to {rule.high:g}{meaning}")
