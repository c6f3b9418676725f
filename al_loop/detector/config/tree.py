"""The dicts, lists and tuples of a config as a tree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

#: The configs of mmdet's own models are nested less than 12 deep.
_MAX_DEPTH = 40
#: Keys of dicts and indices of lists, from the root to a node.
Place = tuple[str | int, ...]


def walk(tree: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Yield the place and the value of each node, parents first; ValueError for deep nesting."""
    if len(place) > _MAX_DEPTH:
        raise ValueError(f"it is nested more than {_MAX_DEPTH} deep")
    yield place, tree
    if isinstance(tree, Mapping):
        for name, value in tree.items():
            yield from walk(value, (*place, name))
    elif isinstance(tree, list | tuple):
        for number, value in enumerate(tree):
            yield from walk(value, (*place, number))


def refuse_deep(tree: Any) -> None:
    """Raise ValueError for deep nesting, on which recursive functions would fail."""
    for _ in walk(tree):
        pass
