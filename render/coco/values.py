"""JSON values as they come from other tools: ids, numbers and flags, written in more than one way."""

from __future__ import annotations

import math
import re

_DIGITS = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.0+)?", re.ASCII)
_NUMBER = re.compile(r"\s*[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,4})?\s*", re.ASCII)
_LONGEST_NUMBER = 64
_FLAGS = {"": False, "0": False, "false": False, "1": True, "true": True}


def identifier(value: object) -> int | str | None:
    """Return an id such that 1, 1.0 and "1" are the same; None for what is no id."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    if isinstance(value, str) and value:
        return int(value.partition(".")[0]) if _DIGITS.fullmatch(value) else value
    return None


def number(value: object) -> float | None:
    """Return a finite number, also one that is written as text; None for everything else."""
    if isinstance(value, str) and len(value) <= _LONGEST_NUMBER and _NUMBER.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def flag(value: object) -> bool | None:
    """Return a flag that is written as 0, 1, true, false, a text of these, or not at all; None for everything else."""
    if value is None or isinstance(value, bool):
        return bool(value)
    if isinstance(value, str):
        return _FLAGS.get(value.strip().lower())
    return value == 1 if isinstance(value, int | float) and value in (0, 1) else None
