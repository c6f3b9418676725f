"""A number or a word of a recipe: a constant, or a distribution to draw from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

import msgspec
from numpy.random import Generator

#: A normal distribution is cut at this many standard deviations, so that its extremes can be checked.
NORMAL_CUT = 2.0


class Distribution(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Exactly one of `uniform`, `normal`, `loguniform` and `choice`; `weights` goes with `choice`."""

    uniform: tuple[float, float] | None = None
    normal: tuple[float, float] | None = None
    loguniform: tuple[float, float] | None = None
    choice: tuple[float | str, ...] | None = None
    weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn from; msgspec adds the key path to the message."""
        given = [k for k in ("uniform", "normal", "loguniform", "choice") if getattr(self, k) is not None]
        if len(given) != 1:
            raise ValueError(
                f"expected exactly one of uniform, normal, loguniform, choice, got {given or 'none'}"
            )
        for name in ("uniform", "loguniform"):
            bounds = getattr(self, name)
            if bounds is not None and bounds[0] > bounds[1]:
                raise ValueError(f"expected {name} = [low, high] with low <= high, got {list(bounds)}")
        if self.loguniform is not None and self.loguniform[0] <= 0:
            raise ValueError(f"expected loguniform bounds above 0, got {list(self.loguniform)}")
        if self.normal is not None and self.normal[1] < 0:
            raise ValueError(
                f"expected normal = [mean, deviation] with deviation >= 0, got {list(self.normal)}"
            )
        self._check_choice()

    def _check_choice(self) -> None:
        if self.choice is not None and not self.choice:
            raise ValueError("expected at least one value in choice, got an empty list")
        if self.weights is None:
            return
        if self.choice is None or len(self.weights) != len(self.choice):
            raise ValueError(f"expected one weight per value of choice, got {len(self.weights)} weights")
        if min(self.weights) < 0 or sum(self.weights) <= 0:
            raise ValueError(f"expected weights >= 0 with a sum above 0, got {list(self.weights)}")

    def extremes(self) -> tuple[float | str, ...]:
        """Values between which every draw lies (for `choice`: every value)."""
        if self.choice is not None:
            return self.choice
        if self.normal is not None:
            mean, deviation = self.normal
            return (mean - NORMAL_CUT * deviation, mean + NORMAL_CUT * deviation)
        bounds = self.uniform or self.loguniform
        assert bounds is not None  # __post_init__ saw to it
        return bounds


Scalar = float | Distribution
Word = str | Distribution


@dataclass(frozen=True)
class Limits:
    """The range a Scalar of a recipe may take, both ends included."""

    low: float
    high: float

    def __post_init__(self) -> None:
        """Convert to float: `typing` keeps the first of two equal types, and the schema prints it."""
        object.__setattr__(self, "low", float(self.low))
        object.__setattr__(self, "high", float(self.high))


@dataclass(frozen=True)
class OneOf:
    """The words a Word of a recipe may take."""

    words: tuple[str, ...]


def rules_of(hint: Any) -> list[Limits | OneOf]:
    """Ranges and words anywhere in a type, as in `Annotated[Scalar, Limits(0, 1)] | None`."""
    rules = [rule for rule in getattr(hint, "__metadata__", ()) if isinstance(rule, Limits | OneOf)]
    return rules + [rule for inner in get_args(hint) for rule in rules_of(inner)]


def draw(value: Scalar, rng: Generator) -> float:
    """One number: the constant itself, or a draw."""
    if not isinstance(value, Distribution):
        return float(value)
    if value.uniform is not None:
        return float(rng.uniform(*value.uniform))
    if value.loguniform is not None:
        low, high = value.loguniform
        return float(low * (high / low) ** rng.uniform())
    if value.normal is not None:
        z = float(rng.standard_normal())
        while abs(z) > NORMAL_CUT:
            z = float(rng.standard_normal())
        return value.normal[0] + value.normal[1] * z
    return float(_choose(value, rng))


def draw_int(value: Scalar, rng: Generator) -> int:
    """One whole number; `uniform` takes both ends with equal chance."""
    if isinstance(value, Distribution) and value.uniform is not None:
        return int(rng.integers(round(value.uniform[0]), round(value.uniform[1]) + 1))
    return round(draw(value, rng))


def draw_word(value: Word, rng: Generator) -> str:
    """One word."""
    return str(_choose(value, rng)) if isinstance(value, Distribution) else value


def pick(weights: tuple[float, ...], rng: Generator) -> int:
    """An index, with chances in proportion to the weights."""
    total = sum(weights)
    return int(rng.choice(len(weights), p=[w / total for w in weights]))


def _choose(value: Distribution, rng: Generator) -> float | str:
    assert value.choice is not None
    return value.choice[pick(value.weights or (1.0,) * len(value.choice), rng)]
