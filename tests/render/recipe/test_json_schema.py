"""The JSON Schema accepts what the reader accepts and refuses what it refuses."""

from __future__ import annotations

import tomllib
import typing
from pathlib import Path

import jsonschema
import msgspec
import pytest

from render import RecipeError, parse_recipe
from render.recipe import tables as recipe
from render.recipe.json_schema import recipe_schema

RECIPES = sorted((Path(__file__).parents[3] / "configs" / "render").glob("*.toml"))
PART = {"name": "cube", "shape": "box"}
GOOD = {"name": "x", "parts": [PART]}


@pytest.fixture(scope="module")
def validator():
    schema = recipe_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.integration
@pytest.mark.parametrize("path", RECIPES, ids=[path.stem for path in RECIPES])
def test_every_shipped_recipe_fits(validator, path):
    problems = [e.message for e in validator.iter_errors(tomllib.loads(path.read_text()))]
    assert not problems


def test_there_are_recipes_to_check():
    assert RECIPES


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"light": {"sky": "city"}},
        {"light": {"sky": {"choice": ["city", "night"], "weights": [1, 2]}}},
        {"sensor": {"exposure": {"uniform": [0.1, 0.9]}}},
        {"sensor": {"exposure": {"normal": [0.5, 0.1]}}},
        {"parts": [{**PART, "size_m": {"loguniform": [0.01, 0.1]}}]},
        {"cameras": [{"position_m": [0, {"uniform": [-1, 1]}, 2]}]},
        {"defects": {"kinds": [{"kind": "crack", "size_m": 0.004}]}},
    ],
)
def test_both_accept(validator, change):
    recipe = {**GOOD, **change}
    parse_recipe(recipe)
    assert not list(validator.iter_errors(recipe))


@pytest.mark.parametrize(
    "change",
    [
        {"colour": 1},
        {"parts": []},
        {"image": {"width": 31}},
        {"image": {"format": "gif"}},
        {"light": {"sky": "moon"}},
        {"light": {"sky": {"choice": ["city", "moon"]}}},
        {"light": {"sky": {"uniform": [0, 1]}}},
        {"sensor": {"exposure": 1.5}},
        {"sensor": {"exposure": {"uniform": [0.1, 1.5]}}},
        {"sensor": {"exposure": {"choice": [0.5, 1.5]}}},
        {"sensor": {"exposure": {"normal": [1.5, 0.1]}}},
        {"sensor": {"exposure": {}}},
        {"sensor": {"exposure": {"uniform": [0.1, 0.5], "normal": [0.3, 0.1]}}},
        {"sensor": {"exposure": {"uniform": [0.1, 0.5], "weights": [1, 1]}}},
        {"sensor": {"exposure": {"uniform": [0.1]}}},
        {"sensor": {"exposure": "bright"}},
        {"parts": [{**PART, "size_m": 1000}]},
        {"parts": [{**PART, "size_m": {"uniform": [0.01, 1000]}}]},
        {"parts": [{**PART, "shape": "teapot"}]},
        {"parts": [{**PART, "materials": [{"colours": ["red"]}]}]},
        {"parts": [{**PART, "materials": [{"wear": 2}]}]},
        {"cameras": [{"position_m": [0, 1]}]},
        {"defects": {"kinds": [{"kind": "sneeze"}]}},
        {"defects": {"kinds": [{"kind": "crack", "cover": -1}]}},
    ],
)
def test_both_refuse(validator, change):
    recipe = {**GOOD, **change}
    with pytest.raises(RecipeError):
        parse_recipe(recipe)
    assert list(validator.iter_errors(recipe))


@pytest.mark.integration
def test_the_schema_is_the_same_whichever_of_two_equal_types_python_met_first():
    tables = [
        kind for kind in vars(recipe).values() if isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    ]
    assert tables
    expected = msgspec.json.encode(recipe_schema())
    for first in tables:
        for forget in typing._cleanups:  # what typing has kept
            forget()
        typing.get_type_hints(first, include_extras=True)
        assert msgspec.json.encode(recipe_schema()) == expected, first.__name__


def test_every_limit_of_the_recipe_is_in_the_schema():
    """A range that the walk misses would leave a number without bounds; these few may go without."""
    free = {"Distribution", "Form.values", "Intrinsics", "Part.pose", "Camera.position_m", "Camera.look_at_m"}
    loose = []
    for name, table in recipe_schema()["$defs"].items():
        for key, field in table["properties"].items():
            if not free & {name, f"{name}.{key}"} and _unbounded(field):
                loose.append(f"{name}.{key}")
    assert loose == ["Defect.values"]


def _unbounded(field):
    if isinstance(field, dict):
        if field.get("type") == "number":
            return not {"minimum", "exclusiveMinimum"} & field.keys()
        return any(_unbounded(value) for key, value in field.items() if key != "default")
    return isinstance(field, list) and any(map(_unbounded, field))
