"""Stage of a cycle that sends labels back to people which the model contradicts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from al_loop.core.console import Reporter
from al_loop.core.errors import AlLoopError, ConfigError, LabelStudioError
from al_loop.evaluation.label_doubts import Doubt
from al_loop.labelling import sync
from al_loop.labelling.open_tasks import tab_address
from al_loop.loop.cycle_record import Cycle
from al_loop.loop.label_check import doubts_of, in_words, labels_by_cycle
from al_loop.loop.selection_stages import stage_of
from al_loop.state.database.pick_table import expected_picks
from al_loop.state.model_registry import INITIAL
from al_loop.state.stages import Output, run_stage
from al_loop.state.workspace import Workspace
from al_loop.structures.images import LabelledImage

#: Least loss of a label that is sent back: the model's box is right with a chance of 0.95 or more. If 5 % of
#: the labels are wrong, such a label is as likely wrong as right.
_LEAST_LOSS = 3.0
_MAX_REASONS = 3  # in the line above an image


def review_stage(
    workspace: Workspace, cycle: Cycle, pushed: Output, labels: Sequence[LabelledImage], reporter: Reporter
) -> None:
    """Make a tab of the labels of the cycle that the model contradicts most, at most a share of k images.

    The cycle goes on without an answer: the next one pulls what people correct.

    labels: all that the cycle trains on.
    """
    fraction = workspace.config.label_studio.review_fraction
    if cycle.model.origin == INITIAL or not fraction:
        return

    def work(_: Path) -> Output:
        labelled = labels_by_cycle(workspace, labels).get(cycle.number, [])
        reasons = _reasons(workspace, cycle, fraction, labelled, reporter)
        if not reasons:
            return {"tasks": 0}
        try:
            done = sync.send_back(workspace, cycle.number, pushed["server"], pushed["project_id"], reasons)
        except (ConfigError, LabelStudioError) as error:
            reporter.line(f"  review: left out: {error}")
            return {"tasks": 0}
        server = {name: pushed[name] for name in ("server", "project_id")}
        return {**server, "tasks": done.tasks, "view_id": done.view_id, "url": done.url}

    done = run_stage(workspace.store, stage_of(workspace, cycle, "review"), work)
    if done["tasks"]:
        address = tab_address(workspace, done) or "the embedded server"
        reporter.line(
            f"  review: {done['tasks']} images to check again → {address}; "
            f"all doubts: al-loop labels check --cycle {cycle.number}"
        )


def _reasons(
    workspace: Workspace,
    cycle: Cycle,
    fraction: float,
    labelled: Sequence[LabelledImage],
    reporter: Reporter,
) -> dict[str, str]:
    """Return why each image is sent back, by image, the most doubtful first. labelled: in this cycle."""
    with_task = {row.image_id for row in expected_picks(workspace.store, cycle.number)}
    labelled = [item for item in labelled if item.image.id in with_task]
    if not labelled:
        return {}
    try:
        doubts = doubts_of(workspace, cycle.model, cycle.settings, labelled, reporter)
    except AlLoopError as error:
        reporter.line(f"  review: left out: {error}")
        return {}
    return most_doubtful(doubts, math.ceil(fraction * cycle.k), workspace.config.classes)


def most_doubtful(doubts: Sequence[Doubt], most: int, classes: Sequence[str]) -> dict[str, str]:
    """Return the reasons to look again at an image, of the images with the largest losses, by image.

    doubts: largest loss first.
    most: number of images.
    """
    found: dict[str, list[str]] = {}
    for doubt in doubts:
        if doubt.loss >= _LEAST_LOSS and (doubt.image.id in found or len(found) < most):
            found.setdefault(doubt.image.id, []).append(in_words(doubt, classes))
    return {image: "Please check: " + "; ".join(lines[:_MAX_REASONS]) for image, lines in found.items()}
