"""Several annotations of one image: which one counts, and how much people disagree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from al_loop.labelling.client.task import Agreement
from al_loop.structures.boxes import Boxes, FloatArray, Outline, iou
from al_loop.structures.segmentation import mask_iou

#: Minimum IoU at which the drawings of two people show the same object.
SAME = 0.5


class User(msgspec.Struct, frozen=True):
    """The author of an annotation."""

    id: int


class Annotation(msgspec.Struct, frozen=True):
    """A submitted answer or a skip, as Label Studio writes it. updated_at: ISO time of the server."""

    id: int
    updated_at: str
    completed_by: int | User | None = None
    was_cancelled: bool | None = None
    ground_truth: bool | None = None
    result: Any = None
    parent_prediction: Any = None
    lead_time: Any = None

    def author(self, users: Mapping[int, str]) -> str | None:
        """Return the author's e-mail address; None if the server gives no author."""
        by = self.completed_by.id if isinstance(self.completed_by, User) else self.completed_by
        return None if by is None else users.get(by, f"user {by}")


@dataclass(frozen=True)
class Policy:
    """Rule that decides which of several annotations counts.

    "newest": the newest one.  "user": the newest one by the first of `users` (e-mail addresses) who has one.
    "ground-truth": the newest one marked as ground truth.  "consensus": the objects that more than half of
    the people drew.  If "user" or "ground-truth" matches none, the newest one counts.
    """

    rule: str = "newest"
    users: tuple[str, ...] = ()


def choose(annotations: Sequence[Annotation], policy: Policy, users: Mapping[int, str]) -> Annotation | None:
    """Return the annotation that counts: a submitted one, otherwise the newest skip, otherwise None."""
    submitted = [item for item in annotations if not item.was_cancelled]
    if policy.rule == "user":
        by_user = [[item for item in submitted if item.author(users) == name] for name in policy.users]
        preferred = next(filter(None, by_user), [])
    elif policy.rule == "ground-truth":
        preferred = [item for item in submitted if item.ground_truth]
    else:
        preferred = []
    return max(preferred or submitted or annotations, key=_sort_key, default=None)


def latest_per_person(annotations: Sequence[Annotation], users: Mapping[int, str]) -> list[Annotation]:
    """Return the newest submitted annotation of each person, oldest first."""
    submitted = [item for item in sorted(annotations, key=_sort_key) if not item.was_cancelled]
    return list({item.author(users): item for item in submitted}.values())


def _sort_key(annotation: Annotation) -> tuple[str, int]:
    return annotation.updated_at, annotation.id


class _Drawing(NamedTuple):
    """One person's drawing of an object: xyxy (4,) px, class index."""

    box: FloatArray
    label: int
    outline: Outline | None


def consensus(people: Sequence[Boxes]) -> Boxes:
    """Return the objects that more than half of the people drew: the mean box and the most frequent class.

    The boxes of each person in turn are matched one to one with the objects so far (Kuhn 1955), at an IoU of
    boxes or of outlines of at least 0.5: outlines of one thin object may hardly overlap. A box without a
    match is a new object. Of equally frequent classes the first counts.
    Outlines have no mean: the one that overlaps the other drawings most is taken.
    """
    objects: list[list[_Drawing]] = []
    for boxes in people:
        by_box, by_shape = _overlaps(boxes, _as_boxes([_merge(drawn) for drawn in objects]))
        pairs = dict(_pairs(by_box + by_shape, np.maximum(by_box, by_shape) >= SAME))
        for row, drawing in enumerate(_drawings(boxes)):
            if row in pairs:
                objects[pairs[row]].append(drawing)
            else:
                objects.append([drawing])
    return _as_boxes([_merge(drawn) for drawn in objects if 2 * len(drawn) > len(people)])


def _drawings(boxes: Boxes) -> list[_Drawing]:
    outlines = boxes.outlines or (None,) * len(boxes)
    return [_Drawing(*row) for row in zip(boxes.xyxy, boxes.labels.tolist(), outlines, strict=True)]


def _as_boxes(drawings: Sequence[_Drawing]) -> Boxes:
    corners = np.array([item.box for item in drawings], dtype=np.float64).reshape(-1, 4)
    outlines = tuple(item.outline for item in drawings)
    labels = np.array([item.label for item in drawings], dtype=np.int64)
    return Boxes(corners, labels, outlines=outlines if any(outlines) else None)


def _merge(drawn: Sequence[_Drawing]) -> _Drawing:
    """Merge several drawings of one object."""
    labels = [item.label for item in drawn]
    label = max(sorted(set(labels)), key=labels.count)
    outlined = [item for item in drawn if item.outline is not None]
    if not outlined:
        return _Drawing(np.mean([item.box for item in drawn], axis=0), label, None)
    _, overlaps = _overlaps(_as_boxes(outlined), _as_boxes(drawn))
    best = outlined[int(overlaps.sum(axis=1).argmax())]
    return _Drawing(best.box, label, best.outline)


def agreement(people: Mapping[str, Boxes], classes: Sequence[str]) -> Agreement:
    """Return how far people agree, over all pairs of them.

    people: boxes by name of the person.
    Two objects are alike if they match, have the same class, and an IoU of at least 0.5: of their outlines if
    both have one, otherwise of their boxes.
    """
    total = Agreement()
    for (one, first), (other, second) in combinations(people.items(), 2):
        _, overlaps = _overlaps(first, second)
        same = [
            first.labels[a]
            for a, b in _pairs(overlaps, overlaps >= SAME)
            if first.labels[a] == second.labels[b]
        ]
        alike, drawn = Counter(same), Counter([*first.labels, *second.labels])
        pair = 2 * len(same), len(first) + len(second)
        total += Agreement(
            {one: pair, other: pair},
            {classes[label]: (2 * alike[label], count) for label, count in drawn.items()},
        )
    return total


def _overlaps(first: Boxes, second: Boxes) -> tuple[FloatArray, FloatArray]:
    """Return the IoU of boxes, (n, m), and that of outlines, (n, m): that of boxes if one has no outline."""
    by_box = iou(first.xyxy, second.xyxy)
    if not first.outlines or not second.outlines:
        return by_box, by_box
    by_shape = by_box.copy()
    for a, b in np.argwhere(by_box > 0):
        one, other = first.outlines[a], second.outlines[b]
        if one is not None and other is not None:
            by_shape[a, b] = mask_iou(one, other)
    return by_box, by_shape


def _pairs(overlaps: FloatArray, alike: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return one-to-one pairs of rows that are `alike`, (n, m), with the largest total overlap."""
    rows, columns = linear_sum_assignment(-np.where(alike, overlaps, 0.0))
    return [(int(a), int(b)) for a, b in zip(rows, columns, strict=True) if alike[a, b]]
