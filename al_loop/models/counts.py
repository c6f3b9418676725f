"""Count right, misclassified, missed and false boxes of a model, by class and by words about the boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from al_loop.core.console import Reporter
from al_loop.core.errors import DataError
from al_loop.evaluation.detection_counts import COUNT_RULES, CountRuleName, Counts, count
from al_loop.evaluation.grouped_counts import count_groups, group_names
from al_loop.images import repository
from al_loop.images.coco import listed
from al_loop.images.labelled_sets import distinct_images
from al_loop.models import scoring
from al_loop.models.evaluation import predictions_on
from al_loop.models.scoring import EXACT
from al_loop.state.model_registry import Model
from al_loop.state.prediction_store import ShardStore
from al_loop.state.workspace import Workspace
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import LabelledImage, total_boxes
from render.core.tempdirs import scratch_folder

Words = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class CountReport:
    """Counts over all boxes of a set, and over the boxes of each group."""

    model: str
    images: int
    boxes: int
    rule: CountRuleName
    total: Counts
    groups: Mapping[str, Counts]

    @property
    def lines(self) -> list[str]:
        """The counts as lines of text."""
        total = self.total
        rows: list[tuple[str, ...]] = [("", "boxes", "right", "misclassified", "missed", "recall")]
        for name, each in {"all": total, **self.groups}.items():
            numbers = (each.truth, each.right, each.misclassified, each.missed)
            rows.append((name, *map(str, numbers), f"{each.recall:.3f}"))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        table = ["  ".join((row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:]))) for row in rows]
        return [
            f"{self.images} images, {self.boxes} boxes, by {self.model}: "
            f"{total.images_right:.1%} of the images without an error",
            *table,
            f"false boxes: {total.false}, precision {total.precision:.3f}",
            f"boxes are {COUNT_RULES[self.rule].text}",
        ]


def count_set(
    workspace: Workspace, model: Model, name: str, rule: CountRuleName, reporter: Reporter
) -> CountReport:
    """Count the boxes of a model on an evaluation set, by class."""
    truth = repository.validation(workspace, name)
    predicted = predictions_on(workspace, model, truth, name, reporter)
    return _report(workspace, model, truth, [()] * len(truth), predicted, rule)


def count_file(
    workspace: Workspace, model: Model, coco: Path, rule: CountRuleName, reporter: Reporter
) -> CountReport:
    """Count the boxes of a model on the images of a COCO file, by class and by the words about each box.

    The predictions are not stored. Raises DataError if the file has no usable image.
    """
    problems = list[str]()
    items = distinct_images(coco, workspace.config.classes, problems)
    problem_list = listed(problems, coco) if problems else ""
    if not items:
        raise DataError(f"{problem_list}{coco} has no usable image. Correct the file and run again")
    if problems:
        reporter.line(problem_list.rstrip("\n"))
    truth = [item.labelled for item in items]
    with scratch_folder("counts") as folder, reporter.progress(f"{model.id}: {coco.name}") as progress:
        images = [item.image for item in truth]
        scoring.score(workspace, model, images, folder, progress, EXACT, reporter.line)
        predicted = ShardStore(folder).load().boxes_by_image()
    return _report(workspace, model, truth, [item.attributes for item in items], predicted, rule)


def _report(
    workspace: Workspace,
    model: Model,
    truth: Sequence[LabelledImage],
    attributes: Sequence[Words],
    predicted: Mapping[str, Boxes],
    rule: CountRuleName,
) -> CountReport:
    groups = count_groups(truth, predicted, group_names(truth, attributes, workspace.config.classes), rule)
    total = count(truth, predicted, rule)
    return CountReport(model.id, len(truth), total_boxes(truth), rule, total, groups)
