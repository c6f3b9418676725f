"""What a report says, without any layout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from al_loop.core.config import Config
from al_loop.evaluation.detection_counts import Counts
from al_loop.labelling.client.task import Edits
from al_loop.state.model_registry import Model, descent
from al_loop.structures.images import ImageFile
from al_loop.structures.metrics import Metrics


@dataclass(frozen=True)
class Judged:
    """A model's metrics and the validation set (its hash) on which it reached them."""

    metrics: Metrics
    validation_hash: str


@dataclass(frozen=True)
class PickRow:
    """One picked image. `state` is 'selected', 'known' (labelled before) or a TaskState of the server."""

    rank: int  # from 0
    image: ImageFile
    name: str  # of the file it came from
    uncertainty: float
    reason: str
    state: str


@dataclass(frozen=True)
class Start:
    """The model that the first cycle started from: the curve's point at 0 labels."""

    model_id: str
    judged: Judged | None


@dataclass(frozen=True)
class Cost:
    """What people have spent: images answered, boxes on them, minutes where the server measured them.

    timed: of how many images it did.
    """

    images: int
    boxes: int
    minutes: float
    timed: int


@dataclass(frozen=True)
class CycleRow:
    """One cycle: what went in, what came out. `outcome` is None while it is under way.

    labels, boxes: pool images that people have labelled (or found empty) when the candidate was
    trained, and the boxes on them.  before: the model it started from; after: its candidate, if any.
    settings: frozen when it began.
    """

    number: int
    k: int
    settings: Config
    model_id: str
    candidate_id: str | None
    outcome: str | None
    reason: str | None
    labels: int
    boxes: int
    before: Judged | None
    after: Judged | None
    started_at: str
    finished_at: str | None
    stages: Mapping[str, str]  # name -> state, in their order
    queue_url: str | None  # where people label it
    picks: tuple[PickRow, ...]
    cost: Cost
    edits: Edits | None  # what people did to the model's boxes; None where it was not noted

    @property
    def open(self) -> bool:
        """Say whether it is under way."""
        return self.outcome is None

    @property
    def comparable(self) -> bool:
        """Say whether before and after were reached on the same validation images."""
        return not (self.before and self.after) or self.before.validation_hash == self.after.validation_hash

    @property
    def states(self) -> Mapping[str, int]:
        """Return how many picks are in which state, the most frequent first."""
        return dict(Counter(pick.state for pick in self.picks).most_common())

    @property
    def answered(self) -> int:
        """Return how many picks people are done with."""
        return sum(pick.state in ("labelled", "empty", "skipped", "deleted", "known") for pick in self.picks)


@dataclass(frozen=True)
class ModelRow:
    """One model of the lineage.

    sets: its metrics on the sets besides the validation set, by name.
    """

    model: Model
    judged: Judged | None
    current: bool
    sets: Mapping[str, Metrics]


@dataclass(frozen=True)
class Promotion:
    """One change of the current model."""

    model_id: str
    reason: str
    at: str


@dataclass(frozen=True)
class ClassRow:
    """AP of one class, by the first and by the current model; None where it has no truth."""

    name: str
    first: float | None
    current: float | None

    @property
    def change(self) -> float | None:
        """Return what the loop has gained on it."""
        return None if self.first is None or self.current is None else self.current - self.first


@dataclass(frozen=True)
class WindowRow:
    """Images that the drift trigger judged together; effect: of their embeddings. alarm: it raised one."""

    number: int
    at: str
    model_id: str
    effect: float
    p: float
    drifted: bool
    alarm: bool


@dataclass(frozen=True)
class Verdict:
    """What a trigger of the monitor said when it looked last."""

    trigger: str
    due: bool
    reason: str


@dataclass(frozen=True)
class Watch:
    """What the monitor has seen. threshold: effects below are no drift.  strangest: of the newest window that drifted.

    windows: oldest first.
    """

    looked_at: str | None
    verdicts: tuple[Verdict, ...]
    windows: tuple[WindowRow, ...]
    threshold: float
    strangest_of: int | None
    strangest: tuple[tuple[ImageFile, str], ...]


@dataclass(frozen=True)
class Errors:
    """What the model in use gets right and wrong on the validation set."""

    model_id: str
    counts: Counts


@dataclass(frozen=True)
class Pool:
    """How many images there are of each kind; labelled, empty, skipped and unlabelled make the pool."""

    labelled: int
    empty: int
    skipped: int
    unlabelled: int
    boxes: int  # on the labelled ones
    validation: int
    rendered: int

    @property
    def total(self) -> int:
        """Return the size of the pool."""
        return self.labelled + self.empty + self.skipped + self.unlabelled

    @property
    def labels(self) -> int:
        """Return how many images a training can use."""
        return self.labelled + self.empty


@dataclass(frozen=True)
class Report:
    """Everything a report says. cycles: newest first; models and promotions: oldest first."""

    name: str
    classes: tuple[str, ...]
    written_at: str
    note: str | None  # on where the photographs are from; shown before anything else
    pool: Pool
    next_command: str
    start: Start | None
    cycles: tuple[CycleRow, ...]
    per_class: tuple[ClassRow, ...]
    models: tuple[ModelRow, ...]
    promotions: tuple[Promotion, ...]
    cost: Cost
    errors: Errors | None
    watch: Watch

    @property
    def current(self) -> ModelRow | None:
        """Return the model in use."""
        return next((row for row in self.models if row.current), None)

    @property
    def first(self) -> ModelRow | None:
        """Return the model that the curve begins with."""
        return next((row for row in self.models if self.start and row.model.id == self.start.model_id), None)

    @property
    def tree(self) -> tuple[tuple[int, ModelRow], ...]:
        """Return the models with each below what it was made from, and how many lie above it."""
        rows = {row.model.id: row for row in self.models}
        return tuple((depth, rows[model.id]) for depth, model in descent([row.model for row in self.models]))

    @property
    def set_names(self) -> tuple[str, ...]:
        """Return the sets besides the validation set that any model was judged on."""
        return tuple(sorted({name for row in self.models for name in row.sets}))

    @property
    def validation_sets(self) -> int:
        """Return on how many different validation sets the curve's models were judged."""
        judged = [self.start.judged if self.start else None]
        judged += [side for cycle in self.cycles for side in (cycle.before, cycle.after)]
        return len({item.validation_hash for item in judged if item})
