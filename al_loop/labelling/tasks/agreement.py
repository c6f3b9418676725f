"""Several annotations of one image: which one counts, and how far people agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
import numpy as np
from scipy.optimize import linear_sum_assignment

from al_loop.structures.boxes import Boxes, FloatArray, Outline, iou

#: Overlap from which two people mean the same object.
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
    """Rule by which one of several annotations counts.

    "newest": the last one.  "user": the newest of the first of `users` (e-mail addresses) who has one.
    "ground-truth": the newest marked so.  "consensus": objects that more than half of the people drew.
    Where "user" or "ground-truth" finds none, the newest counts.
    """

    rule: str = "newest"
    users: tuple[str, ...] = ()


def choose(annotations: Sequence[Annotation], policy: Policy, users: Mapping[int, str]) -> Annotation | None:
    """Return the annotation that counts: a submitted one, else the newest skip, else None."""
    submitted = [item for item in annotations if not item.was_cancelled]
    if policy.rule == "user":
        by_user = [[item for item in submitted if item.author(users) == name] for name in policy.users]
        preferred = next(filter(None, by_user), [])
    elif policy.rule == "ground-truth":
        preferred = [item for item in submitted if item.ground_truth]
    else:
        preferred = []
    return max(preferred or submitted or annotations, key=_when, default=None)


def latest_of_each(annotations: Sequence[Annotation], users: Mapping[int, str]) -> list[Annotation]:
    """Return the newest submitted annotation of each person, oldest first."""
    submitted = [item for item in sorted(annotations, key=_when) if not item.was_cancelled]
    return list({item.author(users): item for item in submitted}.values())


def _when(annotation: Annotation) -> tuple[str, int]:
    return annotation.updated_at, annotation.id


class _Drawn(NamedTuple):
    """One person's drawing of an object: xyxy (4,) px, class index."""

    box: FloatArray
    label: int
    outline: Outline | None


def consensus(people: Sequence[Boxes]) -> Boxes:
    """Return the objects that more than half of the people drew: mean corners and the commonest class.

    People are joined one after the other. A box goes to the object without a box of this person that it
    overlaps most, at least by half (Kuhn 1955), or begins a new object. Of equally common classes the first
    counts. Outlines have no mean: the one whose hull overlaps the mean box most is taken.
    """
    objects: list[list[_Drawn]] = []
    for boxes in people:
        pairs = dict(_pairs(boxes.xyxy, np.array([_mean(drawn) for drawn in objects]).reshape(-1, 4)))
        outlines = boxes.outlines or (None,) * len(boxes)
        rows = zip(boxes.xyxy, boxes.labels.tolist(), outlines, strict=True)
        for row, drawing in enumerate(rows):
            if row in pairs:
                objects[pairs[row]].append(_Drawn(*drawing))
            else:
                objects.append([_Drawn(*drawing)])
    agreed = [_joined(drawn) for drawn in objects if 2 * len(drawn) > len(people)]
    if not agreed:
        return Boxes()
    corners, labels, masks = zip(*agreed, strict=True)
    return Boxes(np.array(corners), np.array(labels, dtype=np.int64), outlines=masks if any(masks) else None)


def _mean(drawn: Sequence[_Drawn]) -> FloatArray:
    return np.asarray(np.mean([item.box for item in drawn], axis=0))


def _joined(drawn: Sequence[_Drawn]) -> _Drawn:
    """Merge several drawings of one object."""
    labels = [item.label for item in drawn]
    label = max(sorted(set(labels)), key=labels.count)
    mean = _mean(drawn)
    outlined = [item for item in drawn if item.outline is not None]
    if not outlined:
        return _Drawn(mean, label, None)
    best = outlined[int(iou(np.array([item.box for item in outlined]), mean[None]).argmax())]
    return _Drawn(best.box, label, best.outline)


def disagreement(people: Sequence[Boxes]) -> float:
    """Return the share of boxes, over all pairs of people, without a match in overlap and class; 0 to 1."""
    total = alike = 0
    for i, first in enumerate(people):
        for second in people[i + 1 :]:
            total += len(first) + len(second)
            alike += 2 * sum(first.labels[a] == second.labels[b] for a, b in _pairs(first.xyxy, second.xyxy))
    return 1 - alike / total if total else 0.0


def _pairs(first: FloatArray, second: FloatArray) -> list[tuple[int, int]]:
    """Return pairs of rows that overlap at least by half, one to one, with the largest total overlap."""
    overlap = iou(first, second)
    rows, columns = linear_sum_assignment(-np.where(overlap >= SAME, overlap, 0.0))
    return [(int(a), int(b)) for a, b in zip(rows, columns, strict=True) if overlap[a, b] >= SAME]
