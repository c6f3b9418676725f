"""Turn msgspec's message about a refused setting into: key, value, what is allowed."""

from __future__ import annotations

import msgspec

from al_loop.core.setting_types import words
from render.core.struct_errors import read_struct_error

_OUT_OF_RANGE = ("Expected", "Number out of range", "Invalid enum value")
_LONGEST = 100  # characters of a value in an error


def explain(error: msgspec.ValidationError, data: object, root: type[msgspec.Struct]) -> str:
    """Explain why `data` do not fit `root`."""
    problem = read_struct_error(error, data, root)
    text = problem.text
    if problem.unknown is not None:
        key = problem.below(problem.unknown)
        return f"unknown key {key!r}; allowed here: {', '.join(problem.keys)}"
    if not problem.path:
        return text
    allowed = words(problem.kind) if text.startswith(_OUT_OF_RANGE) else None
    if allowed is not None:
        text = f"expected {', or '.join([allowed, *map(repr, problem.choices)])}"
    elif text.startswith("Invalid enum value"):
        text = f"expected one of {', '.join(map(repr, problem.choices))}"
    if isinstance(problem.value, dict):  # a table whose keys do not go together
        return f"{problem.path}: {text}"
    return f"{problem.path} = {_shown(problem.value)}: {text[:1].lower()}{text[1:]}"


def _shown(value: object) -> str:
    """Return a value as text for an error, cut where it is long."""
    if value is None:  # JSON's form of numbers that are not finite
        return "infinite or not a number"
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python prints
        return "an integer of thousands of digits"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
