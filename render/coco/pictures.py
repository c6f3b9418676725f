"""The list `images` of a COCO file: entries of one file joined, sizes checked, files found."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from render.coco.finding import Finder, FoundFile, Identity, path_parts, tails_agree
from render.coco.loading import TWICE
from render.coco.problems import Problem, shown
from render.coco.structures import Picture
from render.coco.values import identifier, number
from render.core.files import printable

Id = int | str
Size = tuple[int, int]
#: No picture is larger; what is, is no size in px.
_LARGEST_PX = 1_000_000
_ORIENTATION = 0x0112  # EXIF; 5 to 8 lie on their side
_NEEDED = "needs id, file_name, width and height"


@dataclass(frozen=True)
class Listed:
    """Pictures, and which of them an id of the file means: its position, None for one that was left out.

    written: the type that an id has in the file.
    """

    pictures: tuple[Picture, ...]
    of_id: Mapping[Id, int | None]
    written: Mapping[Id, type]


@dataclass
class _Entry:
    """One entry that names a file. size: None where it states none.  fit: for use, with its file.

    place, found_as: the file, and for one that was found by the tail of its path where.
    """

    name: str
    id: Id | None
    size: Size | None
    fit: bool = True
    place: FoundFile | None = None
    found_as: str = ""
    image_sha256: str | None = None

    @property
    def where(self) -> str:
        """What problems call it."""
        return f"image {shown(self.name)}"


def read_pictures(file: Path, entries: Sequence[Any], problems: list[str]) -> Listed:
    """Join the entries of each file, and find it; adds to `problems` what was left out, joined or found elsewhere.

    A picture whose file is not there is kept without a path. A file leaves with all its entries when one of them
    cannot be read: its boxes could not be known.
    """
    of_id: dict[Id, int | None] = {}
    written: dict[Id, type] = {}
    readable = []
    for position, entry in enumerate(entries, start=1):
        found = _read_entry(position, entry, of_id, problems)
        if found is not None:
            readable.append(found)
            if found.id is not None:
                written[found.id] = type(entry["id"])
    _find(file, readable, problems)
    groups: dict[object, list[_Entry]] = {}
    for one in readable:
        groups.setdefault(one.place.identity if one.place else path_parts(one.name) or one.name, []).append(
            one
        )
    _refuse_shared_ids(list(groups.values()), {*of_id}, problems)
    pictures: list[Picture] = []
    for group in groups.values():
        picture = _joined(group, problems)
        of_id |= {one.id: None if picture is None else len(pictures) for one in group if one.id is not None}
        if picture is not None:
            pictures.append(picture)
    return Listed(tuple(pictures), of_id, written)


def _read_entry(position: int, entry: Any, of_id: dict[Id, int | None], problems: list[str]) -> _Entry | None:
    """One entry; None for what names no file."""
    where = f"image entry {position}"
    if not isinstance(entry, dict):
        problems.append(Problem(where, f"{_NEEDED}; got {shown(entry)}", f"image entry that {_NEEDED}"))
        return None
    name, id_ = entry.get("file_name"), identifier(entry.get("id"))
    if not isinstance(name, str) or not name:
        problems.append(Problem(where, f"{_NEEDED}; got {shown(entry)}", f"image entry that {_NEEDED}"))
        if id_ is not None:
            of_id[id_] = None
        return None
    one = _Entry(name, id_, None)
    if isinstance(entry.get("image_sha256"), str):
        one.image_sha256 = entry["image_sha256"]
    twice = {"id", "file_name", "width", "height"} & {*entry.get(TWICE, ())}
    size = _stated_size(entry)
    if id_ is None:
        wrong, kind = f"id must be a number or a text, got {shown(entry.get('id'))}", "id that is none"
    elif twice:
        wrong = kind = f"has {', '.join(sorted(twice))} twice, with different values"
    elif isinstance(size, str):
        wrong, kind = size, "width or height that is no whole number of px above 0"
    else:
        one.size = size
        return one
    problems.append(Problem(one.where, f"{wrong}; left out", f"image left out: {kind}"))
    one.fit = False
    return one


def _stated_size(entry: Mapping[str, Any]) -> Size | str | None:
    """Width and height in px, None where one is missing or 0, or a sentence on what is wrong."""
    stated = (entry.get("width"), entry.get("height"))
    sides = [0.0 if side is None else number(side) for side in stated]
    if any(side is None or side < 0 or side > _LARGEST_PX or side != int(side) for side in sides):
        return f"width and height must be whole numbers of px above 0, got {shown(stated[0])} and {shown(stated[1])}"
    width, height = (int(side or 0) for side in sides)
    return (width, height) if width and height else None


def _find(file: Path, entries: Sequence[_Entry], problems: list[str]) -> None:
    """Find the file of each entry; a file that another entry names exactly is no other picture's."""
    finder = Finder(file)
    names: dict[Identity, list[str]] = {}
    lost = []
    for one in entries:
        one.place = finder.exact(one.name)
        if one.place is None:
            lost.append(one)
        else:
            names.setdefault(one.place.identity, []).append(one.name)
    guesses = {one.name: finder.fitting(one.name) for one in lost}
    for name, places in guesses.items():
        if len(places) == 1:
            names.setdefault(places[0].identity, []).append(name)
    told: set[str] = set()
    for one in lost:
        places, kind = guesses[one.name], "no such file, but some that fit"
        if len(places) == 1:
            others = [n for n in names[places[0].identity] if not tails_agree(n, one.name)]
            if not others:
                one.place = places[0]
                one.found_as = _below(file, places[0].path)
                continue
            what = f"no such file; {_below(file, places[0].path)} fits, and fits {shown(others[0])} too"
        elif places:
            both = " and ".join(_below(file, place.path) for place in places[:2])
            what = f"no such file, and more than one that fits: {both}. Name one of them in {file.name}"
        else:
            what = kind = f"no such file beside {file.name} or in images/"
            near = finder.renamed(one.name)
            if near is not None and near.identity not in names:
                what += f"; {_below(file, near.path)} is: name it in {file.name} if it shows the same"
        if one.name not in told:
            told.add(one.name)
            problems.append(Problem(one.where, what, kind))


def _below(file: Path, path: Path) -> str:
    return printable(
        path.relative_to(file.parent).as_posix() if path.is_relative_to(file.parent) else str(path)
    )


def _refuse_shared_ids(groups: Sequence[Sequence[_Entry]], nameless: set[Id], problems: list[str]) -> None:
    """Leave out files that share an id, with each other or an entry without a name: whose its boxes are cannot be known."""
    owners: dict[Id, list[Sequence[_Entry]]] = {}
    for group in groups:
        for id_ in {one.id for one in group if one.id is not None}:
            owners.setdefault(id_, []).append(group)
    for id_, sharing in owners.items():
        if len(sharing) > 1 or id_ in nameless:
            for group in sharing:
                group[0].fit = False
            named = " and ".join(
                [
                    *(shown(group[0].name) for group in sharing[:3]),
                    *["one without a name"] * (id_ in nameless),
                ]
            )
            problems.append(
                Problem(
                    f"images {named}",
                    f"have the same id {shown(id_)}: whose boxes are whose cannot be told; left out",
                    "id of two images: left out, as whose boxes are whose cannot be told",
                )
            )


def _joined(group: Sequence[_Entry], problems: list[str]) -> Picture | None:
    """One file of all its entries; None where it is left out."""
    first = group[0]
    if not all(one.fit for one in group):
        return None
    sizes = {one.size: None for one in group if one.size is not None}
    if len(sizes) > 1:
        stated = " and ".join(f"{w}x{h}" for w, h in list(sizes)[:3])
        what = f"its {len(group)} entries state {stated} px: left out"
        problems.append(Problem(first.where, what, "entries of one file state different sizes: left out"))
        return None
    size = next(iter(sizes), None) or _size_of_file(first, problems)
    if size is None:
        return None
    if len(group) > 1:
        what = f"{len(group)} entries name this file: joined, with the boxes of all"
        problems.append(Problem(first.where, what, "file with more than one entry: joined"))
    for one in {one.found_as: one for one in group if one.found_as}.values():
        problems.append(Problem(one.where, f"found as {one.found_as}", "file found by the tail of its path"))
    claimed = next((one.image_sha256 for one in group if one.image_sha256), None)
    return Picture(printable(first.name), first.place.path if first.place else None, *size, claimed)


def _size_of_file(entry: _Entry, problems: list[str]) -> Size | None:
    """Size of a picture whose entry states none, from the file's header; None with a problem where it is not to be had."""
    from PIL import Image  # only few files need it

    if entry.place is None:
        problems.append(Problem(entry.where, f"{_NEEDED}, and its file is not there: left out"))
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata and of large pictures
            with Image.open(entry.place.path) as picture:
                size, turned = picture.size, picture.getexif().get(_ORIENTATION, 1)
    except Exception as error:  # a damaged file may raise whatever its decoder meets
        what = f"states no size, and its file's cannot be read ({type(error).__name__}): left out"
        problems.append(Problem(entry.where, what))
        return None
    if turned in (5, 6, 7, 8):
        what = "states no size, and an EXIF tag turns its file: how its boxes lie cannot be told; left out"
        problems.append(Problem(entry.where, what))
        return None
    what = f"states no size: {size[0]}x{size[1]} px, as its file has, are taken"
    problems.append(Problem(entry.where, what, "image without a size: that of its file is taken"))
    return size
