from pathlib import Path

import numpy as np
import pytest

from render import RecipeError, load_recipe, parse_recipe
from render.recipe.categories import categories
from render.recipe.distributions import Distribution, draw, draw_int, draw_word
from render.recipe.load import recipe_hash

CONFIGS = Path(__file__).parents[3] / "configs" / "render"


DIE = {"name": "die", "shape": "die"}


def with_part(**keys):
    return {"parts": [{**DIE, **keys}]}


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (with_part(cuont=3), ["parts[0].cuont", "3", "expected one of", "count", "size_m"]),
        (with_part(count="many"), ["parts[0].count", "'many'", "a number, or a distribution"]),
        (with_part(units="feet"), ["parts[0].units", "'feet'", "expected one of m, cm, mm, in"]),
        (with_part(pose="standing"), ["parts[0].pose", "'standing'", "rest, upright, any"]),
        (with_part(count=999), ["parts[0].count", "999", "0 to 200"]),
        (with_part(count={"uniform": [1, 999]}), ["parts[0].count", "999", "0 to 200"]),
        (with_part(count={"normal": [190, 6]}), ["parts[0].count", "202", "0 to 200"]),
        (with_part(count={"unifrom": [1, 2]}), ["parts[0].count.unifrom", "expected one of", "uniform"]),
        (with_part(count={"uniform": [3, 1]}), ["parts[0].count", "low <= high", "3"]),
        (with_part(count={"uniform": [1, 2], "normal": [1, 2]}), ["parts[0].count", "exactly one"]),
        (with_part(count={"choice": [1, 2], "weights": [1]}), ["parts[0].count", "one weight per value"]),
        (with_part(count={"choice": [1, 2], "weights": [0, 0]}), ["parts[0].count", "sum above 0"]),
        (with_part(count={"choice": ["two"]}), ["parts[0].count", "'two'", "expected a number"]),
        (with_part(size_m=float("nan")), ["parts[0].size_m", "nan"]),
        (
            with_part(materials=[{"colours": ["red"]}]),
            ["parts[0].materials[0].colours[0]", "'red'", '"#c4141c"'],
        ),
        (with_part(materials=[{"marble": 2}]), ["parts[0].materials[0].marble", "0 to 1"]),
        (with_part(shape="dye"), ["parts[0].shape", "'dye'", "blade"]),
        (with_part(mesh="part.obj"), ["parts[0]", "a shape or a mesh", "both"]),
        ({"parts": [{"name": "x"}]}, ["parts[0]", "a shape or a mesh", "neither"]),
        ({"parts": [{"shape": "die"}]}, ["parts[0].name", "expected a value"]),
        ({"parts": [DIE, DIE]}, ["different names", "die"]),
        (with_part(forms=[{"values": {"sides": 6}}]), ["forms[0].values.sides", "roundness"]),
        (with_part(forms=[{"values": {"roundness": 3}}]), ["forms[0].values.roundness", "reaches 3"]),
        (
            with_part(forms=[{"values": {"roundness": float("nan")}}]),
            ["forms[0].values.roundness reaches nan", "0.005 to 0.45"],
        ),
        (
            {"parts": [{"name": "bar", "shape": "billet", "stamp": {"characters": "1ß"}}]},
            ["parts[0].stamp.characters", "'1ß'", "printable ASCII characters"],
        ),
        (with_part(components={"lid": {}}), ["parts[0].components.lid", "unknown component"]),
        (with_part(label="none"), ["nothing in the recipe is labelled"]),
        ({**with_part(), "labels": {"categories": ["bolt"]}}, ["labels.categories", "missing die"]),
        ({**with_part(), "defects": {"kinds": [{"kind": "dint"}]}}, ["defects.kinds[0].kind", "dent"]),
        (
            {**with_part(label="none"), "defects": {"kinds": [{"kind": "grease", "label": False}]}},
            ["nothing in the recipe is labelled"],
        ),
        ({**with_part(), "defects": {"harmless": 41}}, ["defects.harmless", "41", "0 to 40"]),
        (
            {**with_part(), "defects": {"kinds": [{"kind": "dent", "on": ["bolt"]}]}},
            ["defects.kinds[0].on", "'bolt'", "die"],
        ),
        ({**with_part(), "light": {"sky": "moon"}}, ["light.sky", "'moon'", "studio"]),
        ({**with_part(), "image": {"width": 3}}, ["image.width", "3", ">= 32"]),
        ({**with_part(), "lihgt": {}}, ["lihgt", "expected one of", "light"]),
    ],
)
def test_a_wrong_recipe_names_key_value_and_what_is_allowed(table, said):
    with pytest.raises(RecipeError) as error:
        parse_recipe({"name": "x", **table})
    for words in said:
        assert words in str(error.value)


def test_a_file_that_cannot_be_read_says_so(tmp_path):
    with pytest.raises(RecipeError, match="no such recipe"):
        load_recipe(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("name = ")
    with pytest.raises(RecipeError, match=r"bad\.toml: not valid TOML"):
        load_recipe(tmp_path / "bad.toml")
    (tmp_path / "empty.toml").write_text("")
    with pytest.raises(RecipeError, match=r"empty\.toml: .*name"):
        load_recipe(tmp_path / "empty.toml")


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda p: p.stem)
def test_shipped_recipes_load_and_are_named_after_their_file(path):
    assert load_recipe(path).name == path.stem


def test_the_hash_sees_every_value():
    table = {"name": "x", **with_part()}
    plain = parse_recipe(table)
    assert recipe_hash(plain) == recipe_hash(parse_recipe(table))
    assert recipe_hash(plain) != recipe_hash(parse_recipe({**table, "sensor": {"noise": 0.011}}))


def test_categories_follow_from_parts_states_components_digits_and_defects():
    table = {
        "name": "x",
        "parts": [
            {**DIE, "label": "state"},
            {"name": "bolt", "shape": "bolt"},
            {"name": "ground", "shape": "slab", "label": "none"},
            {"name": "bar", "shape": "billet", "stamp": {"characters": "0120"}},
        ],
        "defects": {"kinds": [{"kind": "dent"}, {"kind": "scratch", "name": "scratches"}]},
    }
    faces = ("one", "two", "three", "four", "five", "six")
    expected = (*faces, "bolt", "bar", "0", "1", "2", "dent", "scratches")
    assert categories(parse_recipe(table)) == expected
    assert categories(parse_recipe({**table, "labels": {"parts": False}})) == ("dent", "scratches")
    named = {**table, "labels": {"categories": sorted(expected)}}
    assert categories(parse_recipe(named)) == tuple(sorted(expected))


def test_draws_stay_in_their_distribution():
    rng = np.random.default_rng(0)
    uniform = [draw(Distribution(uniform=(2, 4)), rng) for _ in range(400)]
    assert 2 <= min(uniform) < 2.1
    assert 3.9 < max(uniform) <= 4
    normal = np.array([draw(Distribution(normal=(10, 2)), rng) for _ in range(400)])
    assert 6 <= normal.min() < 7
    assert 13 < normal.max() <= 14  # cut at two deviations
    log = np.array([draw(Distribution(loguniform=(1, 100)), rng) for _ in range(400)])
    assert abs(np.median(log) - 10) < 2.5  # the middle of the decades, not of the numbers
    whole = [draw_int(Distribution(uniform=(1, 3)), rng) for _ in range(300)]
    assert [round(whole.count(n) / 100) for n in (1, 2, 3)] == [1, 1, 1]
    words = [draw_word(Distribution(choice=("a", "b"), weights=(3, 1)), rng) for _ in range(400)]
    assert 270 < words.count("a") < 330
    assert draw(5, rng) == 5.0
