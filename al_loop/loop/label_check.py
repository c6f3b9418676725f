"""Compare people's labels with a model that was not trained on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from al_loop.core.config import Config
from al_loop.core.console import Reporter
from al_loop.core.errors import AlLoopError, DataError, WorkspaceError
from al_loop.core.frozen_settings import thawed
from al_loop.evaluation.label_doubts import Doubt, Kind, label_doubts
from al_loop.images import repository
from al_loop.labelling import sync
from al_loop.models import evaluation
from al_loop.state import model_registry
from al_loop.state.database.cycle_table import CycleRow, all_cycles, read_cycle
from al_loop.state.database.label_table import drawn_in_cycles, set_size
from al_loop.state.database.pick_table import picks_of
from al_loop.state.database.verdict_table import all_verdicts
from al_loop.state.file_hashes import shards_in
from al_loop.state.model_registry import INITIAL, Model
from al_loop.state.score_key import ScoreKey
from al_loop.state.workspace import Workspace
from al_loop.structures.images import LabelledImage
from al_loop.structures.metrics import VALIDATION


@dataclass(frozen=True)
class LabelCheck:
    """The labels that models contradict.

    doubts: (number of the cycle, doubt), largest loss first. 0 in place of a number: the validation set.
    checked: images that were compared.
    sources: name of the file of each image with a doubt, by image.
    notes: which labels were not compared, and why.
    """

    doubts: list[tuple[int, Doubt]] = field(default_factory=list)
    checked: list[str] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def check_labels(workspace: Workspace, number: int | None, reporter: Reporter) -> LabelCheck:
    """Compare the labels of each cycle with the model that it began with.

    number: of the only cycle to check. None: all cycles, and the validation set with the current model.
    Raises DataError if there is no such cycle.
    """
    rows = all_cycles(workspace.store) if number is None else [_cycle(workspace, number)]
    by_cycle, found = labels_by_cycle(workspace, repository.labelled(workspace)), LabelCheck()
    for row in rows:
        if labelled := by_cycle.get(row.number):
            _add(found, row.number, labelled, partial(_doubts_of_cycle, workspace, row, labelled, reporter))
    if number is None and model_registry.has_model(workspace) and set_size(workspace.store, VALIDATION):
        truth = repository.validation(workspace)
        _add(found, 0, truth, partial(_doubts_of_validation, workspace, truth, reporter))
    found.doubts.sort(key=lambda item: -item[1].loss)
    images = list({doubt.image.id for _, doubt in found.doubts})
    return replace(found, sources=repository.source_names(workspace, images))


def _add(
    found: LabelCheck, number: int, labelled: Sequence[LabelledImage], doubts: Callable[[], list[Doubt]]
) -> None:
    """Add the doubts about some labels, or a note why they are not checked."""
    try:
        found.doubts.extend((number, doubt) for doubt in doubts())
        found.checked.extend(item.image.id for item in labelled)
    except AlLoopError as error:
        where = f"cycle {number}" if number else "validation set"
        found.notes.append(f"{where}: {len(labelled)} labels are not checked: {error}")


def _doubts_of_validation(
    workspace: Workspace, truth: Sequence[LabelledImage], reporter: Reporter
) -> list[Doubt]:
    model = model_registry.current_model(workspace)
    predicted = evaluation.predictions_on(workspace, model, truth, VALIDATION, reporter, masks=False)
    return label_doubts(truth, predicted, evaluation.box_calibration(workspace, model, reporter))


def _cycle(workspace: Workspace, number: int) -> CycleRow:
    row = read_cycle(workspace.store, number)
    if row is None:
        raise DataError(f"there is no cycle {number}. See: al-loop status")
    return row


def labels_by_cycle(
    workspace: Workspace, labelled: Sequence[LabelledImage]
) -> dict[int, list[LabelledImage]]:
    """Return those of the labelled images that people have labelled in cycles, by cycle.

    Without images of which single boxes were verified: the model may have learnt these.
    """
    cycles, found = drawn_in_cycles(workspace.store), dict[int, list[LabelledImage]]()
    verified = {row.image_id for row in all_verdicts(workspace.store)}
    for item in labelled:
        if item.image.id not in verified and (number := cycles.get(item.image.id)) is not None:
            found.setdefault(number, []).append(item)
    return found


def _doubts_of_cycle(
    workspace: Workspace, row: CycleRow, labelled: Sequence[LabelledImage], reporter: Reporter
) -> list[Doubt]:
    model = model_registry.get_model(workspace, row.model_id)
    return doubts_of(workspace, model, thawed(row.settings), labelled, reporter)


def doubts_of(
    workspace: Workspace,
    model: Model,
    settings: Config,
    labelled: Sequence[LabelledImage],
    reporter: Reporter,
) -> list[Doubt]:
    """Return what the model that a cycle began with contradicts. It reads the scores that picked the images.

    settings: of the cycle.
    Raises WorkspaceError if there are no scores, as of a model without a training.
    """
    if model.origin == INITIAL:
        raise WorkspaceError(f"{model.id} was not trained")
    store = shards_in(workspace, workspace.scores_dir(ScoreKey.of(settings, model.id)))
    if store.damaged():
        raise WorkspaceError(f"the scores in {store.folder} are damaged or gone")
    scored = store.load([item.image.id for item in labelled])
    calibration = evaluation.box_calibration(workspace, model, reporter)
    return label_doubts(labelled, scored.boxes_by_image(), calibration)


def task_addresses(workspace: Workspace, doubts: Sequence[tuple[int, Doubt]]) -> dict[str, str]:
    """Return the address of the task of each image, by image, where it is in the current project.

    Raises LabelStudioError if the server does not answer.
    """
    images = {doubt.image.id for _, doubt in doubts}
    numbers = {number for number, _ in doubts}
    picks = [row for number in numbers for row in picks_of(workspace.store, number)]
    keys = {row.task_key: row.image_id for row in picks if row.image_id in images}
    return {keys[key]: page for key, page in sync.pages_of(workspace, list(keys)).items()}


def in_words(doubt: Doubt, classes: Sequence[str]) -> str:
    """Describe a doubt in one line."""
    at = _place(doubt)
    label = "" if doubt.label is None else classes[doubt.label]
    seen = "" if doubt.predicted is None else classes[doubt.predicted]
    sure = f"{100 * doubt.chance:.0f} %"
    match doubt.kind:
        case Kind.MISSING:
            return f"no box {at}: the model sees {seen} ({sure})"
        case Kind.CLASS:
            return f"{label} {at}: the model sees {seen} ({sure})"
        case Kind.OFF:
            return f"{label} {at}: the model's box of {seen} differs in place or size ({sure})"
        case Kind.UNSEEN:
            return f"{label} {at}: the model sees nothing there"


def _place(doubt: Doubt) -> str:
    """Return where the centre of a box is, in words and in pixels."""
    x, y = (doubt.box[:2] + doubt.box[2:]) / 2
    column = min(int(3 * x / doubt.image.width), 2)
    row = min(int(3 * y / doubt.image.height), 2)
    words = " ".join(filter(None, (("top", "", "bottom")[row], ("left", "", "right")[column])))
    return f"at the {words or 'centre'} ({x:.0f}, {y:.0f})"
