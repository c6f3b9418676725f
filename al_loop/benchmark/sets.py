"""Labelled sets of a benchmark: images by the hash of their bytes, with all their boxes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from al_loop.coco import Problem, listed, read_coco
from al_loop.errors import ConfigError, DataError
from al_loop.ingest import load_upright
from al_loop.samples import ImageFile, LabelledImage


@dataclass(frozen=True, eq=False)
class Sets:
    """The pool, whose labels only the simulated annotator sees; what models are judged on; what was left out."""

    pool: list[LabelledImage]
    validation: list[LabelledImage]
    tests: Mapping[str, list[LabelledImage]]
    problems: list[str]


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
    learnt = _read(pool, classes, problems)
    judged = {_VALIDATION: _read(validation, classes, problems)}
    judged |= {name: _read(path, classes, problems) for name, path in tests.items()}
    for name, path in {"pool": pool, _VALIDATION: validation, **tests}.items():
        images = learnt if name == "pool" else judged[name]
        if not images:
            raise DataError(f"{_said(problems)}{path} has no image that can be used as {name}")
        if not any(len(item.boxes) for item in images):
            raise DataError(
                f"{_said(problems)}{path}: expected boxes of {', '.join(classes)} in the set {name}, got none that can "
                "be used. Add some, or correct the names of its categories"
            )
    absent = _absent(learnt, judged[_VALIDATION], classes)
    if absent:
        raise DataError(
            f"{_said(problems)}{validation} has no box of {', '.join(absent)}, which {pool} has: their AP could not be known. "
            "Add examples to the validation set"
        )
    taken = {item.image.id for images in judged.values() for item in images}
    kept = [item for item in learnt if item.image.id not in taken]
    if len(kept) < len(learnt):
        problems.insert(
            0, f"{len(learnt) - len(kept)} images of {pool.name} left out: models are judged on them"
        )
    if not kept:
        raise DataError(
            f"{_said(problems)}nothing is left to pick from: models are judged on every image of {pool}"
        )
    return Sets(kept, judged.pop(_VALIDATION), judged, problems)


def _read(path: Path, classes: Sequence[str], problems: list[str]) -> list[LabelledImage]:
    found = read_coco(path, classes)
    problems += [
        problem.of(path.name) if isinstance(problem, Problem) else problem for problem in found.problems
    ]
    images: dict[str, LabelledImage] = {}
    for item in found.images:
        try:
            upright = load_upright(item.path, decode=True)
            if (upright.width, upright.height) != (item.width, item.height):
                raise DataError(
                    f"is {upright.width}x{upright.height} px upright, not {item.width}x{item.height}"
                )
            if not upright.untouched:
                raise DataError(
                    "is turned by an EXIF tag, or of a format that is stored anew: save it upright"
                )
        except DataError as error:
            problems.append(Problem(f"{path.name}, image {item.path.name}", str(error)))
            continue
        image = ImageFile(upright.id, item.path, item.width, item.height)
        images[image.id] = LabelledImage(image, item.boxes, item.ignored)
    return sorted(images.values(), key=lambda one: one.image.id)


def _absent(
    pool: Sequence[LabelledImage], judged: Sequence[LabelledImage], classes: Sequence[str]
) -> list[str]:
    shown = {int(label) for item in pool for label in item.boxes.labels}
    known = {int(label) for item in judged for label in item.boxes.labels}
    return [name for index, name in enumerate(classes) if index in shown - known]


def _said(problems: Sequence[str]) -> str:
    return listed(problems, "the benchmark's sets")
