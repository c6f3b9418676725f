"""Compare people's labels with a model that was not trained on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from al_loop.core.console import Reporter
from al_loop.core.errors import DataError, WorkspaceError
from al_loop.core.frozen_settings import thawed
from al_loop.evaluation.label_doubts import Doubt, Kind, label_doubts
from al_loop.images import repository
from al_loop.labelling import sync
from al_loop.models import evaluation
from al_loop.state import model_registry
from al_loop.state.database.cycle_table import CycleRow, all_cycles, read_cycle
from al_loop.state.database.label_table import drawn_in_cycle
from al_loop.state.database.pick_table import picks_of
from al_loop.state.file_hashes import shards_in
from al_loop.state.model_registry import INITIAL
from al_loop.state.score_key import ScoreKey
from al_loop.state.workspace import Workspace
from al_loop.structures.images import LabelledImage
from al_loop.structures.metrics import VALIDATION


@dataclass(frozen=True)
class LabelCheck:
    """The labels that models contradict.

    doubts: (number of the cycle, doubt), largest loss first. 0 in place of a number: the validation set.
    checked: number of images that were compared.
    sources: name of the file of each image with a doubt, by image.
    notes: which labels were not compared, and why.
    """

    doubts: list[tuple[int, Doubt]] = field(default_factory=list)
    checked: int = 0
    sources: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def check_labels(workspace: Workspace, number: int | None, reporter: Reporter) -> LabelCheck:
    """Compare the labels of each cycle with the model that it began with.

    number: of the only cycle to check. None: all cycles, and the validation set with the current model.
    Raises DataError if there is no such cycle.
    """
    rows = all_cycles(workspace.store) if number is None else [_cycle(workspace, number)]
    doubts, checked, notes = list[tuple[int, Doubt]](), 0, list[str]()
    for row in rows:
        labelled = labels_of_cycle(workspace, row.number)
        if not labelled:
            continue
        try:
            doubts += [(row.number, doubt) for doubt in doubts_of(workspace, row, labelled, reporter)]
            checked += len(labelled)
        except WorkspaceError as error:
            notes.append(f"cycle {row.number}: {len(labelled)} labels are not checked: {error}")
    if number is None and model_registry.has_model(workspace):
        model = model_registry.current_model(workspace)
        truth = repository.validation(workspace)
        predicted = evaluation.predictions(workspace, model, VALIDATION, reporter)
        calibration = evaluation.box_calibration(workspace, model, reporter)
        doubts += [(0, doubt) for doubt in label_doubts(truth, predicted, calibration)]
        checked += len(truth)
    doubts.sort(key=lambda item: -item[1].loss)
    names = repository.source_names(workspace, list({doubt.image.id for _, doubt in doubts}))
    return LabelCheck(doubts, checked, names, notes)


def _cycle(workspace: Workspace, number: int) -> CycleRow:
    row = read_cycle(workspace.store, number)
    if row is None:
        raise DataError(f"there is no cycle {number}. See: al-loop status")
    return row


def labels_of_cycle(workspace: Workspace, number: int) -> list[LabelledImage]:
    """Return the images of the pool that people have labelled in a cycle."""
    names = drawn_in_cycle(workspace.store, number)
    return [item for item in repository.labelled(workspace) if item.image.id in names]


def doubts_of(
    workspace: Workspace, row: CycleRow, labelled: Sequence[LabelledImage], reporter: Reporter
) -> list[Doubt]:
    """Return what the model that a cycle began with contradicts. It reads the scores that picked the images.

    Raises WorkspaceError if there are no scores, as of a model without a training.
    """
    model = model_registry.get_model(workspace, row.model_id)
    if model.origin == INITIAL:
        raise WorkspaceError(f"{model.id} was not trained")
    folder = workspace.scores_dir(ScoreKey.of(thawed(row.settings), model.id))
    scored = shards_in(workspace, folder).load([item.image.id for item in labelled])
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
