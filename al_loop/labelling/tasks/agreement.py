"""Several annotations of one image: which one counts, and how much people disagree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
import numpy as np
from scipy.optimize import linear_sum_assignment

from al_loop.structures.boxes import Boxes, FloatArray, Outline, iou

#: Minimum IoU at which the boxes of two people show the same object.
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

    The boxes of each person in turn are matched one to one with the objects so far, at an IoU of at least
    0.5 (Kuhn 1955). A box without a match is a new object. Of equally frequent classes the first counts.
    Outlines have no mean: the one whose hull overlaps the mean box most is taken.
    """
    objects: list[list[_Drawing]] = []
    for boxes in people:
        pairs = dict(_matches(boxes.xyxy, np.array([_mean_box(drawn) for drawn in objects]).reshape(-1, 4)))
        outlines = boxes.outlines or (None,) * len(boxes)
        rows = zip(boxes.xyxy, boxes.labels.tolist(), outlines, strict=True)
        for row, drawing in enumerate(rows):
            if row in pairs:
                objects[pairs[row]].append(_Drawing(*drawing))
            else:
                objects.append([_Drawing(*drawing)])
    agreed = [_merge(drawn) for drawn in objects if 2 * len(drawn) > len(people)]
    if not agreed:
        return Boxes()
    corners, labels, masks = zip(*agreed, strict=True)
    return Boxes(np.array(corners), np.array(labels, dtype=np.int64), outlines=masks if any(masks) else None)


def _mean_box(drawn: Sequence[_Drawing]) -> FloatArray:
    return np.asarray(np.mean([item.box for item in drawn], axis=0))


def _merge(drawn: Sequence[_Drawing]) -> _Drawing:
    """Merge several drawings of one object."""
    labels = [item.label for item in drawn]
    label = max(sorted(set(labels)), key=labels.count)
    mean = _mean_box(drawn)
    outlined = [item for item in drawn if item.outline is not None]
    if not outlined:
        return _Drawing(mean, label, None)
    best = outlined[int(iou(np.array([item.box for item in outlined]), mean[None]).argmax())]
    return _Drawing(best.box, label, best.outline)


def disagreement(people: Sequence[Boxes]) -> float:
    """Return the share of boxes, over all pairs of people, without a match of the same class; 0 to 1."""
    total = alike = 0
    for i, first in enumerate(people):
        for second in people[i + 1 :]:
            total += len(first) + len(second)
            alike += 2 * sum(
                first.labels[a] == second.labels[b] for a, b in _matches(first.xyxy, second.xyxy)
            )
    return 1 - alike / total if total else 0.0


def _matches(first: FloatArray, second: FloatArray) -> list[tuple[int, int]]:
    """Return one-to-one pairs of rows with an IoU of at least 0.5 and the largest total IoU."""
    overlap = iou(first, second)
    rows, columns = linear_sum_assignment(-np.where(overlap >= SAME, overlap, 0.0))
    return [(int(a), int(b)) for a, b in zip(rows, columns, strict=True) if overlap[a, b] >= SAME]
