"""The list `categories` of a COCO file: names by id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from render.coco.loading import TWICE
from render.coco.problems import Problem, shown
from render.coco.values import identifier

Id = int | str


def read_categories(entries: Sequence[Any], problems: list[str]) -> Mapping[Id, str | None]:
    """Return the name of each id, None for one whose name cannot be known; adds to `problems` what is wrong."""
    names: dict[Id, str | None] = {}
    ids: dict[str, Id] = {}
    for position, entry in enumerate(entries, start=1):
        where = f"category entry {position}"
        if not isinstance(entry, dict):
            problems.append(Problem(where, f"needs id and name; got {shown(entry)}"))
            continue
        id_, name = identifier(entry.get("id")), entry.get("name")
        if id_ is None:
            problems.append(Problem(where, f"id must be a number or a text, got {shown(entry.get('id'))}"))
        elif not isinstance(name, str) or not _is_name(name) or {"id", "name"} & {*entry.get(TWICE, ())}:
            problems.append(
                Problem(where, f"needs one name, a text; got {shown(name)}: its boxes are left out")
            )
            names[id_] = None
        elif id_ in names and names[id_] != name:
            what = f"id {shown(id_)} is that of {shown(names[id_])} too: the boxes of both are left out"
            problems.append(Problem(f"category {shown(name)}", what))
            names[id_] = None
        else:
            names[id_] = name
            if ids.setdefault(name, id_) != id_:
                what = f"has the ids {shown(ids[name])} and {shown(id_)}: joined"
                problems.append(Problem(f"category {shown(name)}", what))
    return names


def _is_name(name: str) -> bool:
    """Whether a text can be written to a file."""
    return bool(name) and not any("\ud800" <= letter <= "\udfff" for letter in name)
