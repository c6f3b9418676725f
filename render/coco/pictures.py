"""The list `images` of a COCO file: entries of one file joined, sizes checked, files found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from render.coco.file_finder import FileFinder, FoundFile, Identity, path_parts, tails_agree
from render.coco.problems import Problem, Problems, marked, shown
from render.coco.structures import DUPLICATES, Id, Picture, identifier, number
from render.core.files import printable, read_regular
from render.pixels.decoded import MAX_BYTES, pillow_header

Size = tuple[int, int]
_LARGEST_PX = 1_000_000
_NEEDED = "needs id, file_name, width and height"


@dataclass(frozen=True)
class ImageList:
    """Images of a file, and what each id means.

    of_id: index into `pictures`, None for an image that was left out.
    written: type of an id in the file.
    """

    pictures: tuple[Picture, ...]
    of_id: Mapping[Id, int | None]
    written: Mapping[Id, type]


@dataclass
class _Entry:
    """One entry that names a file.

    size: None where the entry states none.
    usable: False for an entry that leaves out its file.
    found_as: path of a file that was found by the tail of its path.
    """

    name: str
    id: Id | None
    size: Size | None = None
    usable: bool = True
    file: FoundFile | None = None
    found_as: str = ""
    image_sha256: str | None = None

    @property
    def where(self) -> str:
        """Name of the entry in problems."""
        return f"image {shown(self.name)}"


def read_pictures(coco: Path, entries: Sequence[Any], problems: Problems) -> ImageList:
    """Join the entries of each file and find the file; add to `problems` what was not taken as it stands.

    An image whose file does not exist is kept without a path. A file is left out with all its entries where
    one of them cannot be read: some of its boxes would be unknown.
    """
    of_id: dict[Id, int | None] = {}
    written: dict[Id, type] = {}
    readable = []
    for position, content in enumerate(entries, start=1):
        entry = _read_entry(position, content, of_id, problems)
        if entry is not None:
            readable.append(entry)
            if entry.id is not None:
                written[entry.id] = type(content["id"])
    _find_files(coco, readable, problems)
    groups: dict[object, list[_Entry]] = {}
    for entry in readable:
        key = entry.file.identity if entry.file else path_parts(entry.name) or entry.name
        groups.setdefault(key, []).append(entry)
    _refuse_shared_ids(list(groups.values()), {*of_id}, problems)
    pictures: list[Picture] = []
    for group in groups.values():
        picture = _joined(group, problems)
        position_in_list = None if picture is None else len(pictures)
        of_id |= {entry.id: position_in_list for entry in group if entry.id is not None}
        if picture is not None:
            pictures.append(picture)
    return ImageList(tuple(pictures), of_id, written)


def _read_entry(
    position: int, content: Any, of_id: dict[Id, int | None], problems: Problems
) -> _Entry | None:
    """Return one entry, None for one that names no file; its id is then ambiguous."""
    name, id_ = None, None
    if isinstance(content, dict):
        name, id_ = content.get("file_name"), identifier(content.get("id"))
    if not isinstance(name, str) or not name:
        problems.add(f"image entry {position}", f"{_NEEDED}; got {shown(content)}")
        if id_ is not None:
            of_id[id_] = None
        return None
    sha256 = content.get("image_sha256")
    entry = _Entry(name, id_, image_sha256=sha256 if isinstance(sha256, str) else None)
    try:
        entry.size = _stated_size(content)
    except ValueError as error:
        problems.add(entry.where, f"{error}; left out")
        entry.usable = False
    return entry


def _stated_size(entry: Mapping[str, Any]) -> Size | None:
    """Return width and height in px, None where one is missing or 0; ValueError for an unusable entry."""
    if identifier(entry.get("id")) is None:
        raise ValueError(f"id must be a number or a text, got {shown(entry.get('id'))}")
    if twice := {"id", "file_name", "width", "height"} & {*entry.get(DUPLICATES, ())}:
        raise ValueError(f"has {', '.join(sorted(twice))} twice, with different values")
    stated = (entry.get("width"), entry.get("height"))
    sides = [0.0 if side is None else number(side) for side in stated]
    if any(side is None or side < 0 or side > _LARGEST_PX or side != int(side) for side in sides):
        got = f"{shown(stated[0])} and {shown(stated[1])}"
        raise ValueError(f"width and height must be whole numbers of px above 0, got {got}")
    width, height = (int(side or 0) for side in sides)
    return (width, height) if width and height else None


def _find_files(coco: Path, entries: Sequence[_Entry], problems: Problems) -> None:
    """Set the file of each entry; a file that another entry names exactly belongs to that entry."""
    finder = FileFinder(coco)
    names: dict[Identity, list[str]] = {}
    for entry in entries:
        entry.file = finder.exact(entry.name)
        if entry.file is not None:
            names.setdefault(entry.file.identity, []).append(entry.name)
    missing = [entry for entry in entries if entry.file is None]
    candidates = {entry.name: finder.fitting(entry.name) for entry in missing}
    for name, files in candidates.items():
        if len(files) == 1:
            names.setdefault(files[0].identity, []).append(name)
    reported: set[str] = set()
    for entry in missing:
        files = candidates[entry.name]
        if len(files) == 1 and all(tails_agree(name, entry.name) for name in names[files[0].identity]):
            entry.file, entry.found_as = files[0], _relative(coco, files[0].path)
        elif entry.name not in reported:
            reported.add(entry.name)
            problems.append(_not_found(coco, entry, files, finder, names))


def _not_found(
    coco: Path,
    entry: _Entry,
    files: Sequence[FoundFile],
    finder: FileFinder,
    names: Mapping[Identity, Sequence[str]],
) -> Problem:
    """Return why none of the files that fit an entry is taken.

    names: of the entries that each file fits.
    """
    if len(files) == 1:
        other = next(name for name in names[files[0].identity] if not tails_agree(name, entry.name))
        path = marked(_relative(coco, files[0].path))
        what = f"no such file; {path} fits, and fits {shown(other)} too"
    elif files:
        both = marked(" and ".join(_relative(coco, file.path) for file in files[:2]))
        what = f"no such file, and more than one that fits: {both}. Name one of them in {coco.name}"
    else:
        what = f"no such file beside {coco.name} or in images/"
        near = finder.with_other_suffix(entry.name)
        if near is not None and near.identity not in names:
            path = marked(_relative(coco, near.path))
            what += f"; {path} is: name it in {coco.name} if it shows the same"
    return Problem(entry.where, what)


def _relative(coco: Path, path: Path) -> str:
    folder = coco.parent
    return printable(path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path))


def _refuse_shared_ids(groups: Sequence[Sequence[_Entry]], nameless: set[Id], problems: Problems) -> None:
    """Leave out files that share an id with another file or with an entry without a name."""
    owners: dict[Id, list[Sequence[_Entry]]] = {}
    for group in groups:
        for id_ in {entry.id for entry in group if entry.id is not None}:
            owners.setdefault(id_, []).append(group)
    for id_, sharing in owners.items():
        if len(sharing) == 1 and id_ not in nameless:
            continue
        for group in sharing:
            group[0].usable = False
        names = [shown(group[0].name) for group in sharing[:3]]
        names += ["one without a name"] * (id_ in nameless)
        problems.add(
            f"images {' and '.join(names)}",
            f"have the same id {shown(id_)}: whose boxes are whose cannot be told; left out",
        )


def _joined(group: Sequence[_Entry], problems: Problems) -> Picture | None:
    """Return one file of all its entries, None where it is left out."""
    first = group[0]
    if not all(entry.usable for entry in group):
        return None
    sizes = {entry.size: None for entry in group if entry.size is not None}
    if len(sizes) > 1:
        stated = marked(" and ".join(f"{w}x{h}" for w, h in list(sizes)[:3]))
        problems.add(first.where, f"its {marked(len(group))} entries state {stated} px: left out")
        return None
    try:
        width, height = next(iter(sizes), None) or _size_of_file(first)
    except ValueError as error:
        problems.add(first.where, f"{error}: left out")
        return None
    if not sizes:
        size = marked(f"{width}x{height}")
        problems.add(first.where, f"states no size: {size} px, as its file has, are taken")
    if len(group) > 1:
        count = marked(len(group))
        problems.add(first.where, f"{count} entries name this file: joined, with the boxes of all")
    for entry in {entry.found_as: entry for entry in group if entry.found_as}.values():
        problems.add(entry.where, f"found as {marked(entry.found_as)}")
    sha256 = next((entry.image_sha256 for entry in group if entry.image_sha256), None)
    return Picture(printable(first.name), first.file.path if first.file else None, width, height, sha256)


def _size_of_file(entry: _Entry) -> Size:
    """Return the size in an image file's header; ValueError where it cannot be known."""
    if entry.file is None:
        raise ValueError(f"{_NEEDED}, and its file is not there")
    try:
        header = pillow_header(read_regular(entry.file.path, MAX_BYTES))
    except Exception as error:  # a damaged file may raise anything
        raise ValueError(f"states no size, and its file's cannot be read ({type(error).__name__})") from error
    if header.orientation > 4:  # on its side
        raise ValueError("states no size, and an EXIF tag turns its file: how its boxes lie cannot be told")
    return header.width, header.height
