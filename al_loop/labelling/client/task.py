"""Tasks sent to the labelling server, and tasks read from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from al_loop.structures.boxes import Boxes

#: Field of a task's data that marks it as shown without the model's boxes.
BLIND = "al_blind"
#: Field of a task's data that marks it as sent back: the name of its batch.
REVIEW = "al_review"


class TaskState(StrEnum):
    """State of a task. A batch is finished when no task is pending, a draft or refused."""

    PENDING = "pending"  # nobody has begun
    DRAFT = "draft"  # begun and not submitted
    LABELLED = "labelled"  # submitted with boxes
    EMPTY = "empty"  # submitted without boxes: no object on this image
    SKIPPED = "skipped"  # a person declined to label it
    DELETED = "deleted"  # no longer on the server
    REFUSED = "refused"  # submitted, but unusable; `problem` says why

    @property
    def open(self) -> bool:
        """Whether a person still has to act."""
        return self in (TaskState.PENDING, TaskState.DRAFT)


@dataclass(frozen=True, eq=False)
class OutgoingTask:
    """An image to label.

    key: unique over all batches of a workspace; the server reuses its own ids.
    image_id: SHA-256 of the image file.  width, height: pixels, as displayed.
    boxes: predictions of the model, with scores.  uncertainty: higher = sooner.  rank: place in the queue,
    from 0.
    reason: why it was picked, one line for the annotator.
    blind: shown without the model's boxes, to measure what these save.
    """

    key: str
    image_id: str
    image_path: Path
    file_name: str
    width: int
    height: int
    boxes: Boxes
    uncertainty: float
    rank: int
    reason: str
    blind: bool = False


@dataclass(frozen=True)
class Edits:
    """What people did to the model's boxes and outlines; each object counts once.

    resized: changed in size or, as an outline, in shape.
    """

    kept: int = 0
    moved: int = 0
    resized: int = 0
    relabelled: int = 0
    deleted: int = 0
    added: int = 0

    @property
    def proposed(self) -> int:
        """Number of boxes that people were shown."""
        return self.kept + self.moved + self.resized + self.relabelled + self.deleted

    @property
    def final(self) -> int:
        """Number of boxes after the edits."""
        return self.proposed - self.deleted + self.added

    def __add__(self, other: Edits) -> Edits:
        """Return the sum of two counts."""
        return Edits(**{name: value + getattr(other, name) for name, value in vars(self).items()})


@dataclass(frozen=True)
class Agreement:
    """How far people who labelled the same images agree.

    people: (objects alike, objects) in all pairs of each person with another one, by name.
    classes: the same of each class in all pairs, by name.
    """

    people: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    classes: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """Share of objects alike, 0 to 1; 1 without objects."""
        alike, total = (sum(counts[i] for counts in self.classes.values()) for i in (0, 1))
        return alike / total if total else 1.0

    def __add__(self, other: Agreement) -> Agreement:
        """Return the sum of two counts."""
        return Agreement(_added(self.people, other.people), _added(self.classes, other.classes))

    def __str__(self) -> str:
        """Return the share of objects alike as text, the people and classes that agree least first."""
        least = [_least_first(self.people), _least_first(self.classes)]
        return f"{_percent(self.share)} of the objects ({'; '.join(filter(None, least))})"


def _added(
    first: Mapping[str, tuple[int, int]], second: Mapping[str, tuple[int, int]]
) -> dict[str, tuple[int, int]]:
    none = (0, 0)
    names = dict.fromkeys([*first, *second])
    pairs = {name: (first.get(name, none), second.get(name, none)) for name in names}
    return {name: (one[0] + other[0], one[1] + other[1]) for name, (one, other) in pairs.items()}


def _least_first(counts: Mapping[str, tuple[int, int]]) -> str:
    shares = sorted((alike / total, name) for name, (alike, total) in counts.items() if total)
    return ", ".join(f"{name} {_percent(share)}" for share, name in shares)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


@dataclass(frozen=True, eq=False)
class PulledTask:
    """A task as read from the server.

    boxes: boxes by a person, in pixels, without scores; without rows if empty, None unless labelled or empty.
    updated_at: time as written by the server.  problem: one sentence if refused.
    note: one sentence if the answer is used, but not as it is.
    agreement: of the people who have labelled it; None for a single one.
    awaited: number of further people who have to answer.
    people: the boxes of each person who has submitted an answer, by name.
    """

    key: str
    image_id: str
    task_id: int | None
    state: TaskState
    boxes: Boxes | None = None
    annotation_id: int | None = None
    updated_at: str | None = None
    annotator: str | None = None
    lead_time_s: float | None = None
    edits: Edits | None = None
    agreement: Agreement | None = None
    awaited: int = 0
    people: Mapping[str, Boxes] = field(default_factory=dict)
    problem: str | None = None
    note: str | None = None
    url: str | None = None


@dataclass(frozen=True)
class PushResult:
    """Result of a push: how many tasks were created, and the address of the queue."""

    created: int
    already_there: int
    view_id: int
    queue_url: str
