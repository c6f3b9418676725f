"""Labelled sets of a benchmark. The id of an image is the hash of its bytes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from al_loop.core.errors import ConfigError, DataError
from al_loop.images.coco import listed
from al_loop.images.labelled_sets import count_phrase, distinct_images
from al_loop.structures.images import LabelledImage, total_boxes, total_outlines, total_regions

#: Names of tests and initial models, which become folders.
_NAME = re.compile(r"[A-Za-z0-9._-]+")
VALIDATION = "validation"


@dataclass(frozen=True, eq=False)
class Datasets:
    """The sets of a benchmark.

    pool: only the simulated annotator reads its labels.
    validation, tests: for evaluation.
    problems: what was left out, and why.
    outlined: whether outlines were read as labels.
    """

    pool: list[LabelledImage]
    validation: list[LabelledImage]
    tests: Mapping[str, list[LabelledImage]]
    problems: list[str]
    outlined: bool = False

    @property
    def evaluated(self) -> dict[str, list[LabelledImage]]:
        """The sets that models are evaluated on, by name."""
        return {VALIDATION: self.validation, **self.tests}

    @property
    def lines(self) -> list[str]:
        """The problems, then the size of each set."""
        lines = [listed(self.problems, "the benchmark's sets").rstrip("\n")] if self.problems else []
        for name, images in {"pool": self.pool, **self.evaluated}.items():
            empty = sum(not len(item.boxes) for item in images)
            outlines = total_outlines(images) if self.outlined else None
            counts = len(images), total_boxes(images), empty, total_regions(images), outlines
            lines.append(f"{name}: {count_phrase(*counts)}")
        return lines


def check_names(tests: Iterable[str], starts: Mapping[str, str]) -> None:
    """Raise ConfigError for names of tests and initial models that are reserved or cannot be folders.

    The path of a file passes as an initial model: `find_initial_model` says how to import it.
    """
    named = [n for n, model in starts.items() if n != model or not Path(model).expanduser().is_file()]
    for option, form, names in (("--test", "NAME=FILE", tests), ("--start", "NAME:MODEL", named)):
        for name in names:
            if not _NAME.fullmatch(name) or name in (".", ".."):
                raise ConfigError(
                    f"{option}: expected a name of letters, digits and . _ - (not . or ..), got {name!r}. "
                    f"Choose another: {option} {form}"
                )
    if VALIDATION in tests:
        raise ConfigError(
            "--test validation=...: this name is that of the set of --val. Choose another: --test NAME=FILE"
        )


def read_datasets(
    pool: Path, validation: Path, tests: Mapping[str, Path], classes: Sequence[str], *, outlined: bool = False
) -> Datasets:
    """Read COCO files. Images that models are evaluated on leave the pool.

    outlined: read outlines as labels, too.
    Raises DataError for a set without images or boxes, and for a validation set that lacks a class of the
    pool. The message begins with the problems of all files.
    """
    problems: list[str] = []
    paths = {"pool": pool, VALIDATION: validation, **tests}
    read = {name: _read(path, classes, problems, outlined=outlined) for name, path in paths.items()}
    images = {name: [item for item, _ in items] for name, items in read.items()}
    problem_list = listed(problems, "the benchmark's sets")
    for name, path in paths.items():
        if not images[name]:
            raise DataError(f"{problem_list}{path} has no image that can be used as {name}")
        if not any(len(item.boxes) for item in images[name]):
            raise DataError(
                f"{problem_list}{path}: expected boxes of {', '.join(classes)} in the set {name}, "
                "got none that can be used. Add some, or correct the names of its categories"
            )
    shown = _classes_of(images["pool"]) - _classes_of(images[VALIDATION])
    if absent := [name for index, name in enumerate(classes) if index in shown]:
        raise DataError(
            f"{problem_list}{validation} has no box of {', '.join(absent)}, which {pool} has: "
            "their AP could not be known. Add examples to the validation set"
        )
    taken = {picture for name, items in read.items() if name != "pool" for _, picture in items}
    left = [item for item, picture in read["pool"] if picture not in taken]
    if len(left) < len(images["pool"]):
        count = len(images["pool"]) - len(left)
        problems.insert(0, f"{count} images of {pool.name} left out: models are evaluated on them")
    if not left:
        raise DataError(
            f"{problem_list}no image is left to pick from: models are evaluated on every image of {pool}"
        )
    others = {name: images[name] for name in tests}
    return Datasets(left, images[VALIDATION], others, problems, outlined)


def _read(
    path: Path, classes: Sequence[str], problems: list[str], *, outlined: bool
) -> list[tuple[LabelledImage, str]]:
    """Return the usable images of a file by id, each with the hash of its picture."""
    items = distinct_images(path, classes, problems, outlines=outlined)
    return [(item.labelled, item.picture) for item in items]


def _classes_of(images: Sequence[LabelledImage]) -> set[int]:
    return {int(label) for item in images for label in item.boxes.labels}
