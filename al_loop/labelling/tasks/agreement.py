"""Several people on one image: whose boxes count, and how far they agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from al_loop.labelling.client.client import Json
from al_loop.labelling.tasks.convert import RefusedResultError, shown
from al_loop.structures.boxes import Boxes, FloatArray, Outline, iou

#: Overlap from which two people mean the same object.
SAME = 0.5


@dataclass(frozen=True)
class Policy:
    """Whose annotation counts where there are several.

    rule: "newest"; "user", the newest of the first of `users` (e-mail addresses) who has one; "ground-truth", the newest
    that is marked so; "consensus", objects that more than half of the people have drawn. Where "user" or "ground-truth"
    finds none, the newest counts.
    """

    rule: str = "newest"
    users: tuple[str, ...] = ()


def chosen(annotations: Sequence[Json], policy: Policy, users: Mapping[int, str]) -> Json | None:
    """Return the annotation that counts: of the submitted ones, else the newest skip, else None.

    Raises RefusedResultError where they are not a list of annotations as Label Studio writes them; so do all below.
    """
    known = checked(annotations)
    submitted = [one for one in known if not one.get("was_cancelled")]
    if not submitted:
        return newest(known)
    by = {name: [one for one in submitted if author(one, users) == name] for name in policy.users}
    preferred = {
        "user": next((found for found in by.values() if found), []),
        "ground-truth": [one for one in submitted if one.get("ground_truth")],
    }
    return newest(preferred.get(policy.rule) or submitted)


def checked(annotations: object) -> list[Json]:
    """Return annotations whose id, time, author and flags can be relied on; RefusedResultError for any other."""
    if not isinstance(annotations, list | tuple):
        raise RefusedResultError(f"expected a list of annotations, got {shown(annotations)}")
    for one in annotations:
        if not isinstance(one, dict):
            raise RefusedResultError(f"expected an annotation, got {shown(one)}")
        for name, kinds in _KINDS.items():
            if type(one.get(name)) not in kinds:
                raise RefusedResultError(f"an annotation has the {name} {shown(one.get(name))}")
        by = one.get("completed_by")
        if isinstance(by, dict) and type(by.get("id")) is not int:
            raise RefusedResultError(f"an annotation was completed by {shown(by)}, who has no number")
    return list(annotations)


#: What the fields of an annotation that we read may be; bool is no int here.
_KINDS: dict[str, tuple[type, ...]] = {
    "id": (int,),
    "updated_at": (str,),
    "was_cancelled": (bool, type(None)),
    "ground_truth": (bool, type(None)),
    "completed_by": (int, dict, type(None)),
}


def newest(annotations: Sequence[Json]) -> Json | None:
    """Return the annotation that was changed last."""
    return max(checked(annotations), key=_when, default=None)


def _when(annotation: Json) -> tuple[str, int]:
    return annotation["updated_at"], annotation["id"]


def author(annotation: Json, users: Mapping[int, str]) -> str | None:
    """Return the e-mail address of who submitted an annotation; None where the server does not say."""
    (annotation,) = checked([annotation])
    by: Any = annotation.get("completed_by")
    by = by.get("id") if isinstance(by, dict) else by
    return None if by is None else users.get(by, f"user {by}")


def latest_of_each(annotations: Sequence[Json], users: Mapping[int, str]) -> list[Json]:
    """Return the newest submitted annotation of each person, oldest first."""
    found: dict[str | None, Json] = {}
    for one in sorted(checked(annotations), key=_when):
        if not one.get("was_cancelled"):
            found[author(one, users)] = one
    return list(found.values())


@dataclass(frozen=True)
class _Drawn:
    """What one person has drawn of an object: xyxy (4,) px, class index."""

    box: FloatArray
    label: int
    outline: Outline | None


def consensus(people: Sequence[Boxes]) -> Boxes:
    """Objects that more than half of the people have drawn: their mean corners, and the class that most gave them.

    People's boxes are joined one after the other: each goes to the object that it overlaps most, at least by half, of
    those that this person has no box of yet (Kuhn 1955), or begins another. Of classes given equally often the first.
    Outlines have no mean: where there are any, the object is the one whose hull overlaps the mean box most.
    """
    objects: list[list[_Drawn]] = []
    for boxes in people:
        pairs = dict(_pairs(boxes.xyxy, np.array([_mean(one) for one in objects]).reshape(-1, 4)))
        for row, drawn in enumerate(_rows(boxes)):
            if row in pairs:
                objects[pairs[row]].append(drawn)
            else:
                objects.append([drawn])
    kept = [_joined(one) for one in objects if 2 * len(one) > len(people)]
    if not kept:
        return Boxes()
    outlines = tuple(one.outline for one in kept)
    return Boxes(
        np.array([one.box for one in kept]),
        np.array([one.label for one in kept], dtype=np.int64),
        outlines=outlines if any(outlines) else None,
    )


def _rows(boxes: Boxes) -> list[_Drawn]:
    outlines = boxes.outlines or (None,) * len(boxes)
    return [
        _Drawn(box, int(label), outline)
        for box, label, outline in zip(boxes.xyxy, boxes.labels, outlines, strict=True)
    ]


def _mean(drawn: Sequence[_Drawn]) -> FloatArray:
    return np.asarray(np.mean([one.box for one in drawn], axis=0))


def _joined(drawn: Sequence[_Drawn]) -> _Drawn:
    """Return what several people's drawings of one object come to."""
    labels = [one.label for one in drawn]
    label = max(sorted(set(labels)), key=labels.count)
    mean = _mean(drawn)
    outlined = [one for one in drawn if one.outline is not None]
    if not outlined:
        return _Drawn(mean, label, None)
    best = outlined[int(iou(np.array([one.box for one in outlined]), mean[None]).argmax())]
    return _Drawn(best.box, label, best.outline)


def disagreement(people: Sequence[Boxes]) -> float:
    """Share of boxes, over all pairs of people, that the other has not drawn alike (overlap and class); 0 to 1."""
    total = alike = 0
    for i, first in enumerate(people):
        for second in people[i + 1 :]:
            total += len(first) + len(second)
            alike += 2 * sum(first.labels[a] == second.labels[b] for a, b in _pairs(first.xyxy, second.xyxy))
    return 1 - alike / total if total else 0.0


def _pairs(first: FloatArray, second: FloatArray) -> list[tuple[int, int]]:
    """Rows of boxes that overlap by half, one to one, so that they overlap most in all."""
    overlap = iou(first, second)
    rows, columns = linear_sum_assignment(-np.where(overlap >= SAME, overlap, 0.0))
    return [(int(a), int(b)) for a, b in zip(rows, columns, strict=True) if overlap[a, b] >= SAME]
