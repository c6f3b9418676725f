"""Labelled sets of a benchmark: images by the hash of their bytes, with all their boxes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from al_loop.core.errors import ConfigError, DataError
from al_loop.images.coco import Problem, listed, read_coco
from al_loop.images.labelled_sets import checked_images, count_phrase, deduplicate
from al_loop.structures.images import ImageFile, LabelledImage, total_boxes, total_regions


@dataclass(frozen=True, eq=False)
class Sets:
    """The pool, whose labels only the simulated annotator sees; what models are judged on; what was left out."""

    pool: list[LabelledImage]
    validation: list[LabelledImage]
    tests: Mapping[str, list[LabelledImage]]
    problems: list[str]

    @property
    def lines(self) -> list[str]:
        """Return what was left out, and what each set holds with the images that are empty."""
        said = [listed(self.problems, "the benchmark's sets").rstrip("\n")] if self.problems else []
        for name, images in {"pool": self.pool, _VALIDATION: self.validation, **self.tests}.items():
            empty = sum(not len(item.boxes) for item in images)
            said.append(
                f"{name}: {count_phrase(len(images), total_boxes(images), empty, total_regions(images))}"
            )
        return said


#: Of tests and starts: they become names of folders.
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_VALIDATION = "validation"


def check_names(tests: Iterable[str], starts: Mapping[str, str]) -> None:
    """Refuse names of tests and starts that cannot be folders, or are taken; ConfigError says which.

    A start without a name that is the path of a file passes: where it is opened, it is said how to import it.
    """
    named = [n for n, what in starts.items() if n != what or not Path(what).expanduser().is_file()]
    for option, names in (("--test", tests), ("--start", named)):
        for name in names:
            if not _NAME.fullmatch(name) or name in (".", ".."):
                form = "NAME=FILE" if option == "--test" else "NAME:MODEL"
                raise ConfigError(
                    f"{option}: expected a name of letters, digits and . _ - (not . or ..), got {name!r}. "
                    f"Name it otherwise: {option} {form}"
                )
    if _VALIDATION in tests:
        raise ConfigError(
            "--test validation=...: this name is that of the set of --val. Name the test otherwise: --test NAME=FILE"
        )


def read_sets(pool: Path, validation: Path, tests: Mapping[str, Path], classes: Sequence[str]) -> Sets:
    """Read COCO files. An image of the pool that is also judged on leaves the pool.

    Raises DataError when a set is empty or has no box, or the validation set lacks a class of the pool; the message begins
    with the problems of all files.
    """
    problems: list[str] = []
    pictures = _read(pool, classes, problems)
    read = {name: _read(path, classes, problems) for name, path in {_VALIDATION: validation, **tests}.items()}
    learnt = [one.labelled for one in pictures]
    judged = {name: [one.labelled for one in found] for name, found in read.items()}
    said = listed(problems, "the benchmark's sets")
    for name, path, images in (
        ("pool", pool, learnt),
        *((name, path, judged[name]) for name, path in {_VALIDATION: validation, **tests}.items()),
    ):
        if not images:
            raise DataError(f"{said}{path} has no image that can be used as {name}")
        if not any(len(item.boxes) for item in images):
            raise DataError(
                f"{said}{path}: expected boxes of {', '.join(classes)} in the set {name}, got none that can be used. "
                "Add some, or correct the names of its categories"
            )
    absent = _absent(learnt, judged[_VALIDATION], classes)
    if absent:
        raise DataError(
            f"{said}{validation} has no box of {', '.join(absent)}, which {pool} has: their AP could not be known. "
            "Add examples to the validation set"
        )
    taken = {one.picture for found in read.values() for one in found}
    kept = [one.labelled for one in pictures if one.picture not in taken]
    if len(kept) < len(learnt):
        problems.insert(
            0, f"{len(learnt) - len(kept)} images of {pool.name} left out: models are judged on them"
        )
    if not kept:
        raise DataError(f"{said}nothing is left to pick from: models are judged on every image of {pool}")
    return Sets(kept, judged.pop(_VALIDATION), judged, problems)


@dataclass(frozen=True, eq=False)
class _Read:
    """A labelled image, and what tells its picture from others."""

    labelled: LabelledImage
    picture: str


def _read(path: Path, classes: Sequence[str], problems: list[str]) -> list[_Read]:
    found = read_coco(path, classes)
    refused: list[tuple[str, str]] = []
    items = []
    for item in checked_images(found, path, refused):
        if item.prepared.untouched:
            items.append(item.without_data)
        else:
            what = "is turned by an EXIF tag, or of a format that is stored anew: save it upright"
            refused.append((str(item.path), what))
    kept = deduplicate(items, [item.picture for item in items], refused, problems)
    problems += [
        problem.of(path.name) if isinstance(problem, Problem) else problem for problem in found.problems
    ]
    problems += [Problem(f"{path.name}, image {Path(where).name}", why) for where, why in refused]
    images = [
        _Read(
            LabelledImage(
                ImageFile(item.prepared.id, item.path, item.prepared.width, item.prepared.height),
                item.boxes,
                item.ignored,
            ),
            item.picture,
        )
        for item in (items[place] for place in kept)
    ]
    return sorted(images, key=lambda one: one.labelled.image.id)


def _absent(
    pool: Sequence[LabelledImage], judged: Sequence[LabelledImage], classes: Sequence[str]
) -> list[str]:
    shown = {int(label) for item in pool for label in item.boxes.labels}
    known = {int(label) for item in judged for label in item.boxes.labels}
    return [name for index, name in enumerate(classes) if index in shown - known]
