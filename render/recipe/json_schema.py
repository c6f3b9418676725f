"""The recipe as a JSON Schema (draft 2020-12), for editors and for checking without this package."""

from __future__ import annotations

import inspect
import typing
from typing import Any

import msgspec

from render.recipe import tables as recipe
from render.recipe.distributions import Limits, OneOf, rules_of
from render.recipe.presets import PRESETS
from render.shapes import SHAPES

Schema = dict[str, Any]
_DISTRIBUTION = "#/$defs/Distribution"
_GIVEN = ("uniform", "normal", "loguniform", "choice")


def recipe_schema() -> Schema:
    """Return what a recipe may hold: keys, types, ranges and words.

    Stricter than a schema are only checks of one key against another; `render.recipe.load` makes them too.
    """
    schema = msgspec.json.schema(recipe.Recipe)
    tables: dict[str, Schema] = schema["$defs"]
    for name, table in tables.items():
        table["description"] = inspect.cleandoc(table["description"])
        if name != "Distribution":
            _refine(table, getattr(recipe, name))
    tables["Distribution"]["oneOf"] = [{"required": [kind]} for kind in _GIVEN]
    tables["Distribution"]["dependentRequired"] = {"weights": ["choice"]}
    tables["Part"]["properties"]["shape"]["enum"] = ["", *SHAPES]
    tables["Defect"]["properties"]["kind"]["enum"] = sorted(PRESETS)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Recipe of render"}
    return {**head, **schema}


def _refine(table: Schema, struct: type[msgspec.Struct]) -> None:
    hints = typing.get_type_hints(struct, include_extras=True)
    for name, field in table["properties"].items():
        for rule in rules_of(hints[name]):
            _narrow(field, rule)
        items = field.get("items")
        if "$ref" in field or (isinstance(items, dict) and "$ref" in items):
            field.pop("default", None)  # the table it refers to has the defaults, key by key


def _narrow(field: Schema, rule: Limits | OneOf) -> None:
    """Add the rule to the constant, and to every number or word of the distribution."""
    for branch in field.get("anyOf", ()):
        _narrow(branch, rule)
    if field.get("$ref") == _DISTRIBUTION:
        field.update(_drawn(rule))
    elif field.get("type") in ("number", "string"):
        field.update(_constant(rule))


def _constant(rule: Limits | OneOf) -> Schema:
    if isinstance(rule, OneOf):
        return {"enum": list(rule.words)}
    return {"minimum": rule.low, "maximum": rule.high}


def _drawn(rule: Limits | OneOf) -> Schema:
    if isinstance(rule, OneOf):
        return {"properties": {"choice": {"items": _constant(rule)}}, "required": ["choice"]}
    number = {"type": "number", **_constant(rule)}
    every = {"items": number}
    # Of a normal distribution only the mean is a value; the deviation has a range of its own.
    mean = {"prefixItems": [number]}
    return {"properties": {"uniform": every, "loguniform": every, "choice": every, "normal": mean}}
