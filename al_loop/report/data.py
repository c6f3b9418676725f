"""The content of a report, without any layout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from al_loop.core.config import Config
from al_loop.evaluation.detection_counts import COUNT_RULES, CountRuleName, Counts
from al_loop.evaluation.precision_recall import ClassCurves
from al_loop.labelling.client.task import Agreement, Edits
from al_loop.report.time_saved import TimeSaved
from al_loop.state.database.label_table import LabelCost
from al_loop.state.database.model_table import Evaluation, PromotionRow
from al_loop.state.model_registry import Model, descent
from al_loop.structures.images import ImageFile
from al_loop.structures.metrics import METRIC_TITLES, ImageLevel, MaskMetrics, MetricName, Metrics

#: States of picks that people are done with.
_ANSWERED = ("labelled", "empty", "skipped", "deleted", "known")


@dataclass(frozen=True)
class PickRow:
    """One picked image.

    rank: from 0.
    name: of the file that the image came from.
    state: "selected", "known" (labelled before), or a TaskState of the server.
    """

    rank: int
    image: ImageFile
    name: str
    uncertainty: float
    reason: str
    state: str


@dataclass(frozen=True)
class Start:
    """The model that the first cycle started from. labels, boxes: those of the pool that it learned from."""

    model_id: str
    evaluation: Evaluation | None
    labels: int
    boxes: int


def first_evaluated(start: Start | None, models: Sequence[ModelRow]) -> ModelRow | None:
    """Return the model at the start, or the oldest evaluated one if that was never evaluated."""
    rows = [row for row in models if row.evaluation is not None]
    return next((row for row in rows if start and row.model.id == start.model_id), next(iter(rows), None))


@dataclass(frozen=True)
class CycleRow:
    """One cycle.

    outcome: None while it is open.
    labels, boxes: labelled images of the pool that the candidate was trained on, and their boxes.
    before: evaluation of the model it started from.
    after: evaluation of its candidate.
    settings: frozen when it began.
    stages: name -> state, in order.
    queue_url, validation_url: where people label it, and the images that it has drawn for the validation set.
    edits: what people did to the model's boxes; None if it was not recorded.
    self_training: whether the candidate learned from unlabelled images, and why. None without a comparison.
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
    before: Evaluation | None
    after: Evaluation | None
    started_at: str
    finished_at: str | None
    stages: Mapping[str, str]
    queue_url: str | None
    validation_url: str | None
    picks: tuple[PickRow, ...]
    cost: LabelCost
    edits: Edits | None
    self_training: str | None

    @property
    def open(self) -> bool:
        """Whether it is open."""
        return self.outcome is None

    @property
    def comparable(self) -> bool:
        """Whether before and after were measured on the same validation images."""
        return not (self.before and self.after) or self.before.validation_hash == self.after.validation_hash

    @property
    def states(self) -> Mapping[str, int]:
        """Number of picks in each state, the most frequent first."""
        return dict(Counter(pick.state for pick in self.picks).most_common())

    @property
    def answered(self) -> int:
        """Number of picks that people are done with."""
        return sum(pick.state in _ANSWERED for pick in self.picks)


@dataclass(frozen=True)
class ModelRow:
    """One model. sets: its metrics on the sets besides the validation set, by name."""

    model: Model
    evaluation: Evaluation | None
    current: bool
    sets: Mapping[str, Metrics]


@dataclass(frozen=True)
class ClassRow:
    """AP of one class by the first and the current model; None without labelled boxes.

    It is the AP of masks or of boxes, see `Report.metric`.
    """

    name: str
    first: float | None
    current: float | None

    @property
    def change(self) -> float | None:
        """AP gained since the first model."""
        return None if self.first is None or self.current is None else self.current - self.first


@dataclass(frozen=True)
class WindowRow:
    """A window of the drift trigger. effect, p: of its embeddings.  alarm: whether it raised one."""

    number: int
    at: str
    model_id: str
    effect: float
    p: float
    drifted: bool
    alarm: bool


@dataclass(frozen=True)
class TriggerRow:
    """The newest verdict of a trigger."""

    trigger: str
    due: bool
    reason: str


@dataclass(frozen=True)
class MonitorSection:
    """Results of the monitor.

    windows: oldest first.
    min_effect: smaller effects are no drift.
    most_drifted: images of the newest window that drifted, and their names.
    """

    checked_at: str | None
    verdicts: tuple[TriggerRow, ...]
    windows: tuple[WindowRow, ...]
    min_effect: float
    most_drifted_window: int | None
    most_drifted: tuple[tuple[ImageFile, str], ...]


@dataclass(frozen=True)
class Errors:
    """Detection counts of the current model on the validation set. rule: name of the rule of counting."""

    model_id: str
    counts: Counts
    rule: CountRuleName = "iou"

    @property
    def rule_text(self) -> str:
        """The rule in words."""
        return COUNT_RULES[self.rule].text


@dataclass(frozen=True)
class SetCurves:
    """Precision over recall of the current model by class, on one set."""

    set_name: str
    model_id: str
    found: ClassCurves


@dataclass(frozen=True)
class Pool:
    """Numbers of images. boxes: on the labelled ones."""

    labelled: int
    empty: int
    skipped: int
    unlabelled: int
    boxes: int
    validation: int
    rendered: int

    @property
    def total(self) -> int:
        """Size of the pool."""
        return self.labelled + self.empty + self.skipped + self.unlabelled

    @property
    def labels(self) -> int:
        """Number of images that a training can use."""
        return self.labelled + self.empty


@dataclass(frozen=True)
class Report:
    """All content. cycles: newest first; models and promotions: oldest first.

    note: where the photographs are from; shown first.
    metric: AP of masks or of boxes, of which the page shows curve and classes: that of promotions, if a model
        has it.
    curves: of each set whose predictions are stored.
    agreement: of people who labelled the same images.
    gold: of people with the known labels of gold tasks.
    """

    name: str
    classes: tuple[str, ...]
    metric: MetricName
    written_at: str
    note: str | None
    pool: Pool
    next_command: str
    start: Start | None
    cycles: tuple[CycleRow, ...]
    per_class: tuple[ClassRow, ...]
    models: tuple[ModelRow, ...]
    promotions: tuple[PromotionRow, ...]
    cost: LabelCost
    time_saved: TimeSaved | None
    agreement: Agreement
    gold: Agreement
    errors: Errors | None
    curves: tuple[SetCurves, ...]
    monitor: MonitorSection

    @property
    def title(self) -> str:
        """The name of `metric`."""
        return METRIC_TITLES[self.metric]

    @property
    def masks(self) -> MaskMetrics | None:
        """The metrics of masks of the model in use."""
        evaluation = self.current.evaluation if self.current else None
        return evaluation.metrics.masks if evaluation else None

    @property
    def image_level(self) -> ImageLevel | None:
        """The metrics of whole images of the model in use."""
        evaluation = self.current.evaluation if self.current else None
        return evaluation.metrics.image_level if evaluation else None

    @property
    def current(self) -> ModelRow | None:
        """The model in use."""
        return next((row for row in self.models if row.current), None)

    @property
    def first(self) -> ModelRow | None:
        """The model that the curve begins with."""
        return first_evaluated(self.start, self.models)

    @property
    def tree(self) -> tuple[tuple[int, ModelRow], ...]:
        """The models, each below its parent, with their depth."""
        rows = {row.model.id: row for row in self.models}
        return tuple((depth, rows[model.id]) for depth, model in descent([row.model for row in self.models]))

    @property
    def set_names(self) -> tuple[str, ...]:
        """Names of the sets besides the validation set that a model was evaluated on."""
        return tuple(sorted({name for row in self.models for name in row.sets}))

    @property
    def validation_sets(self) -> int:
        """Number of different validation sets behind the curve."""
        found = [self.start.evaluation if self.start else None]
        found += [side for cycle in self.cycles for side in (cycle.before, cycle.after)]
        return len({item.validation_hash for item in found if item})
