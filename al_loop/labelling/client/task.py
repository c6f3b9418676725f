"""What goes to the labelling server and what comes back, in our own words."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from al_loop.structures.boxes import Boxes


class TaskState(StrEnum):
    """Where one task stands; a batch is finished when none is pending or a draft."""

    PENDING = "pending"  # nobody has touched it
    DRAFT = "draft"  # somebody began and did not submit
    LABELLED = "labelled"  # submitted with boxes
    EMPTY = "empty"  # submitted without boxes: there is nothing on this image
    SKIPPED = "skipped"  # a person declined to label it
    DELETED = "deleted"  # the server does not have it any more
    REFUSED = "refused"  # submitted, but not usable; `problem` says why

    @property
    def open(self) -> bool:
        """Whether people still have to do something."""
        return self in (TaskState.PENDING, TaskState.DRAFT)


@dataclass(frozen=True, eq=False)
class OutgoingTask:
    """One image to label.

    key: ours, unique over all batches of a workspace; the server's ids are reused and say nothing.
    image_id: SHA-256 of the image file.  width, height: pixels, as displayed.
    boxes: the model's, with scores.  uncertainty: higher = sooner.  rank: place in the queue, from 0.
    reason: why it was picked, one line for the annotator.
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

    def __post_init__(self) -> None:
        """Refuse what the server would accept and show wrongly."""
        if not self.key:
            raise ValueError("a task needs a key")
        if self.width <= 0 or self.height <= 0:
            raise ValueError(f"task {self.key}: image size must be positive, got {self.width}x{self.height}")
        if self.boxes.scores is None:
            raise ValueError(f"task {self.key}: a model's boxes carry scores, got none")


@dataclass(frozen=True)
class ExpectedTask:
    """What a pull looks for: the key, and the image as we know it (pixels)."""

    key: str
    image_id: str
    width: int
    height: int


@dataclass(frozen=True)
class Edits:
    """What a person did to the boxes the model proposed; each box counts once."""

    kept: int = 0
    moved: int = 0
    resized: int = 0
    relabelled: int = 0
    deleted: int = 0
    added: int = 0

    @property
    def proposed(self) -> int:
        """How many boxes people got to see."""
        return self.kept + self.moved + self.resized + self.relabelled + self.deleted

    @property
    def final(self) -> int:
        """How many boxes there are in the end."""
        return self.proposed - self.deleted + self.added

    def __add__(self, other: Edits) -> Edits:
        """Of both together."""
        return Edits(**{name: value + getattr(other, name) for name, value in vars(self).items()})


@dataclass(frozen=True, eq=False)
class PulledTask:
    """One task as the server has it now.

    boxes: a person's, in pixels and without scores; set when labelled, no rows when empty, else None.
    updated_at: the server's clock, as it wrote it.  problem: one sentence, when refused.
    disagreement: share of boxes that several people have not drawn alike; None where one has labelled it.
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
    url: str | None = None


@dataclass(frozen=True)
class PushResult:
    """What a push did, and where people find the queue."""

    created: int
    already_there: int
    view_id: int
    queue_url: str
