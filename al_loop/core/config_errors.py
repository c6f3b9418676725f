"""Turn msgspec's message about a refused setting into: key, value, what is allowed."""

from __future__ import annotations

import re
from typing import Any, get_args

import msgspec

from al_loop.core.setting_types import words

_LONGEST = 100  # characters of a value in an error


def explain(message: str, data: object, root: type[msgspec.Struct]) -> str:
    """Explain msgspec's message on `data` that does not fit `root`."""
    match = re.fullmatch(r"(.*?)(?: - at `\$\.?(.*)`)?", message, re.DOTALL)
    what, path = match.group(1, 2) if match else (message, "")
    path = path or ""
    unknown = re.fullmatch(r"Object contains unknown field `(.*)`", what, re.DOTALL)
    if unknown:
        key = f"{path}.{unknown[1]}" if path else unknown[1]
        return f"unknown key {key!r}; allowed here: {', '.join(_fields_at(root, path))}"
    if not path:
        return what
    section, _, key = path.partition("[")[0].rpartition(".")
    annotation = _fields_at(root, section).get(key)
    if what.startswith("Invalid enum value"):
        choices = get_args(annotation)
        choices = get_args(choices[0]) or choices  # of a list: those of an entry
        what = f"expected one of {', '.join(map(repr, choices))}"
    elif what.startswith(("Expected", "Number out of range")) and (allowed := words(annotation)):
        what = f"expected {allowed}"
    value = _value_at(data, path)
    if isinstance(value, dict):  # a table whose keys do not go together
        return f"{path}: {what}"
    return f"{path} = {_shown(value)}: {what[:1].lower()}{what[1:]}"


def _shown(value: object) -> str:
    """Return a value as text for an error, cut where it is long."""
    if value is None:  # JSON's form of numbers that are not finite
        return "infinite or not a number"
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python prints
        return "an integer of thousands of digits"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _value_at(data: object, path: str) -> object:
    for part in re.findall(r"[^.\[\]]+", path):
        if isinstance(data, dict):
            data = data.get(part)
        elif isinstance(data, list) and part.isdigit() and int(part) < len(data):
            data = data[int(part)]
    return data


def _fields_at(root: type[msgspec.Struct], path: str) -> dict[str, Any]:
    """Return name and type of every key of the table at `path`."""
    section: Any = root
    for part in filter(None, path.split(".")):
        section = {f.encode_name: f.type for f in msgspec.structs.fields(section)}[part]
    return {f.encode_name: f.type for f in msgspec.structs.fields(section)}
