"""Tasks sent to the labelling server, and tasks read from it."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True, eq=False)
class PulledTask:
    """A task as read from the server.

    boxes: boxes by a person, in pixels, without scores; without rows if empty, None unless labelled or empty.
    updated_at: time as written by the server.  problem: one sentence if refused.
    note: one sentence if the answer is used, but not as it is.
    disagreement: share of boxes on which several people disagree; None for a single annotator.
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
    disagreement: float | None = None
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
