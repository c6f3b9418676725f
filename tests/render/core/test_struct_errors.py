"""Problems of data that are converted to a struct."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
import pytest

from render.core.struct_errors import StructError, read_struct_error


class Lamp(msgspec.Struct, forbid_unknown_fields=True):
    """One field of each kind that the paths of msgspec pass through."""

    power_w: Annotated[float, msgspec.Meta(gt=0)]
    colour: Literal["warm", "cold"] | None = None


class Scene(msgspec.Struct, forbid_unknown_fields=True):
    """Lamps in a list and in a table with keys of the user's."""

    lamps: tuple[Lamp, ...] = ()
    named: dict[str, Lamp] = {}


def problem_of(data: object) -> StructError:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(data, Scene)
    return read_struct_error(caught.value, data, Scene)


def test_a_value_is_found_by_its_path() -> None:
    problem = problem_of({"lamps": [{"power_w": 1}, {"power_w": -2}]})
    assert (problem.path, problem.value) == ("lamps[1].power_w", -2)
    assert (problem.unknown, problem.missing, problem.keys) == (None, None, ())


def test_allowed_words_and_keys() -> None:
    assert problem_of({"lamps": [{"power_w": 1, "colour": "red"}]}).choices == ("warm", "cold")
    problem = problem_of({"lamps": [{"power_w": 1, "color": "warm"}]})
    assert (problem.unknown, problem.keys) == ("color", ("power_w", "colour"))
    assert problem.below("color") == "lamps[0].color"
    assert problem_of({"lamps": [{}]}).missing == "power_w"
    assert problem_of({"lamp": []}).below("lamp") == "lamp"


def test_of_a_table_with_any_keys_the_value_is_the_table() -> None:
    named = {"left": {"power_w": 1, "color": "warm"}}
    problem = problem_of({"named": named})
    assert (problem.path, problem.value, problem.keys) == ("named[...]", named, ("power_w", "colour"))
