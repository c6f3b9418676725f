from pathlib import Path

import numpy as np
import pytest

from render import RecipeError, load_recipe, parse_recipe
from render.distributions import Distribution, draw, draw_int, draw_word
from render.recipe import recipe_hash

CONFIGS = Path(__file__).parents[2] / "configs" / "render"


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"dice": {"cuont": 3}}, ["dice.cuont", "3", "expected one of", "count", "edge_m"]),
        ({"dice": {"count": "many"}}, ["dice.count", "'many'"]),
        ({"dice": {"count": 99}}, ["dice.count", "99", "0 to 60"]),
        ({"dice": {"count": {"uniform": [1, 99]}}}, ["dice.count", "99", "0 to 60"]),
        ({"dice": {"count": {"normal": [50, 6]}}}, ["dice.count", "62", "0 to 60"]),
        ({"dice": {"count": {"unifrom": [1, 2]}}}, ["dice.count.unifrom", "expected one of", "uniform"]),
        ({"dice": {"count": {"uniform": [3, 1]}}}, ["dice.count", "low <= high", "3"]),
        ({"dice": {"count": {"uniform": [1, 2], "normal": [1, 2]}}}, ["dice.count", "exactly one"]),
        ({"dice": {"count": {"choice": [1, 2], "weights": [1]}}}, ["dice.count", "one weight per value"]),
        ({"dice": {"count": {"choice": [1, 2], "weights": [0, 0]}}}, ["dice.count", "sum above 0"]),
        ({"dice": {"count": {"choice": ["two"]}}}, ["dice.count", "'two'", "expected a number"]),
        ({"dice": {"edge_m": float("nan")}}, ["dice.edge_m", "nan"]),
        ({"dice": {"finishes": [{"body": "red", "pip": "#000000"}]}}, ["dice.finishes[0].body", "'red'"]),
        (
            {"dice": {"finishes": [{"body": "#000000", "pip": "#000000", "marble": 2}]}},
            ["finishes[0].marble", "0 to 1"],
        ),
        ({"light": {"hdri": "moon"}}, ["light.hdri", "'moon'", "studio"]),
        ({"image": {"width": 3}}, ["image.width", "3", ">= 32"]),
        ({"lihgt": {}}, ["lihgt", "expected one of", "light"]),
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
    plain = parse_recipe({"name": "x"})
    assert recipe_hash(plain) == recipe_hash(parse_recipe({"name": "x"}))
    assert recipe_hash(plain) != recipe_hash(parse_recipe({"name": "x", "sensor": {"noise": 0.011}}))


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
