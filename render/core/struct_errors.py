"""Where and why data do not fit a msgspec struct, read from msgspec's message."""

from __future__ import annotations

import re
import typing
from dataclasses import dataclass
from typing import Any

import msgspec

_KEY_PROBLEMS = ("contains unknown", "missing required")


@dataclass(frozen=True)
class StructError:
    """One problem of data that were converted to a struct.

    path: keys from the root, like `a.b[2]`; "" for the root.
    text: msgspec's words.
    value: found at the path; of a table with keys of the user's, the whole table.
    kind: type expected at the path.
    unknown, missing: a key of the table at the path that is not allowed, or is required.
    """

    path: str
    text: str
    value: Any
    kind: Any
    unknown: str | None = None
    missing: str | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys allowed in the table at the path."""
        return tuple(field_types(self.kind))

    @property
    def choices(self) -> tuple[Any, ...]:
        """Values of the Literals in the expected type, at any depth."""
        return _literals(self.kind)

    def below(self, key: str) -> str:
        """Return the path of a key of the table at this path."""
        return f"{self.path}.{key}" if self.path else key


def read_struct_error(
    error: msgspec.ValidationError, data: object, root: type[msgspec.Struct]
) -> StructError:
    """Return the problem that msgspec found when it converted `data` to `root`."""
    text, _, where = str(error).partition(" - at `$")
    path = where.removesuffix("`").removeprefix(".")
    value, kind = data, root
    for key, number in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path):  # "[...]" stands for any key
        try:
            value = value[key or int(number)]  # type: ignore[index]
        except (KeyError, IndexError, TypeError):
            value = None
        if key:
            kind = field_types(kind).get(key, kind)
    names = (re.fullmatch(rf"Object {what} field `(.*)`", text, re.DOTALL) for what in _KEY_PROBLEMS)
    unknown, missing = (match and match[1] for match in names)
    return StructError(path, text, value, kind, unknown, missing)


def field_types(kind: Any) -> dict[str, Any]:
    """Return the type of each key of the struct inside `X`, `X | None`, `tuple[X, ...]` or `dict[str, X]`."""
    struct = _struct_in(kind)
    return {} if struct is None else {f.encode_name: f.type for f in msgspec.structs.fields(struct)}


def _struct_in(kind: Any) -> Any:
    if isinstance(kind, type(msgspec.Struct)):
        return kind
    return next((s for inner in typing.get_args(kind) if (s := _struct_in(inner)) is not None), None)


def _literals(kind: Any) -> tuple[Any, ...]:
    if typing.get_origin(kind) is typing.Literal:
        return typing.get_args(kind)
    return tuple(word for inner in typing.get_args(kind) for word in _literals(inner))
