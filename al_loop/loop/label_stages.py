"""Stages of a cycle that involve people: push tasks and pull labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from al_loop.core.config import Config
from al_loop.core.console import Reporter
from al_loop.core.files import json_hash, printable, read_json, write_json
from al_loop.images import repository
from al_loop.images.identity import remove_evaluation_copies
from al_loop.images.object_cache import changed_files
from al_loop.images.verified import HASTY_S, VerifiedImages, verified
from al_loop.labelling import sync
from al_loop.labelling.backend import server_name
from al_loop.labelling.gold import draw_gold
from al_loop.labelling.open_tasks import queue_address
from al_loop.labelling.sync import Shown
from al_loop.loop.cycle_record import Cycle
from al_loop.loop.manifest import LABELS
from al_loop.loop.measured_prices import measured_prices
from al_loop.loop.selection_stages import relative, scored_pool, stage_of
from al_loop.loop.validation_sample import freeze_sample
from al_loop.models import evaluation
from al_loop.state.database.label_table import find_labels
from al_loop.state.database.pick_table import set_pick_state
from al_loop.state.database.verdict_table import unlabelled_with_verdicts
from al_loop.state.model_registry import INITIAL
from al_loop.state.stages import Output, Waiting, run_stage
from al_loop.state.workspace import Workspace
from al_loop.structures.images import LabelledImage, total_boxes
from al_loop.structures.picks import Pick
from al_loop.structures.predictions import ScoredImages
from strategies import Prices

_BLIND, _GOLD = 4, 5  # of the streams of random numbers of a cycle
_MAX_LISTED = 5  # images on which people disagree most


def push_stage(
    workspace: Workspace, cycle: Cycle, picks: list[Pick], rescored: Sequence[str], reporter: Reporter
) -> Output:
    """Push tasks for the picks without a label. Return server, project, view and URL of the queue.

    The output has these under "validation", too, if images are labelled for the validation set.
    """
    answered = sync.answered_in_old_project(workspace, cycle.number)
    fresh = [p for p in picks if not p.known and p.image_id not in answered]
    ids = [p.image_id for p in fresh]

    def work(_: Path) -> Output:
        not_fetched = repository.keep(workspace, ids)
        _report_left_out(not_fetched, reporter)
        left_out = {
            *not_fetched,
            *_remove_evaluation_copies(workspace, ids, reporter),
            *_without_need(workspace, cycle.number, ids, reporter),
        }
        damaged = changed_files(
            repository.images_by_id(workspace, [name for name in ids if name not in left_out])
        )
        _report_left_out(damaged, reporter)
        intact = [p for p in fresh if p.image_id not in left_out and p.image_id not in damaged]
        scored = scored_pool(workspace, cycle, rescored)
        prices = measured_prices(workspace)
        if prices is not None:
            reporter.line(f"  {prices}, by the answers so far")
        least = evaluation.least_scores(workspace, cycle.model, reporter, prices or Prices())
        drawn = [p for p in intact if p.validation]
        validation = {"validation": _push(workspace, cycle, drawn, scored, Shown(least))} if drawn else {}
        others = [p for p in intact if not p.validation]
        blind = blind_tasks([p.image_id for p in others], workspace.config, cycle)
        gold = gold_tasks(workspace, cycle, len(others))
        pushed = _push(workspace, cycle, others, scored, Shown(least, blind, gold))
        return validation | pushed | {"least_scores": least, "blind": blind, "gold": gold}

    stage = stage_of(workspace, cycle, "push", picks=json_hash([_plain(p) for p in fresh]))
    done = run_stage(workspace.store, stage, work)
    address = queue_address(workspace, done) or "the embedded server"
    boxes = "" if cycle.model.origin == INITIAL else " with the model's boxes"
    gold = f" and {len(done['gold'])} of the validation set" if done.get("gold") else ""
    reporter.line(f"  push: {done['tasks']} tasks{boxes}{gold} → {address}")
    if "validation" in done:
        address = queue_address(workspace, done["validation"]) or "the embedded server"
        reporter.line(f"  push: {done['validation']['tasks']} tasks of the validation set → {address}")
    return done


def blind_tasks(ids: Sequence[str], settings: Config, cycle: Cycle) -> list[str]:
    """Return the images that people see without the model's boxes, drawn at random, sorted.

    Their labels show how much time the boxes save. None if the model predicts none.
    """
    if cycle.model.origin == INITIAL:
        return []
    rng = np.random.default_rng(np.random.SeedSequence([settings.cycle.seed, cycle.number, _BLIND]))
    count = round(settings.label_studio.blind_fraction * len(ids))
    return sorted(rng.choice(sorted(ids), count, replace=False).tolist())


def gold_tasks(workspace: Workspace, cycle: Cycle, tasks: int) -> list[str]:
    """Return the validation images that people label once more, besides a number of tasks."""
    count = round(workspace.config.label_studio.gold_fraction * tasks)
    if not count or cycle.validation_images:  # the cycle makes the validation set
        return []
    rng = np.random.default_rng(np.random.SeedSequence([workspace.config.cycle.seed, cycle.number, _GOLD]))
    return draw_gold(workspace, count, rng)


def _push(
    workspace: Workspace, cycle: Cycle, picks: list[Pick], scored: ScoredImages, shown: Shown
) -> Output:
    project_id, result = sync.push_picks(workspace, cycle.number, picks, scored, cycle.model.id, shown)
    return {
        "tasks": len(picks),
        "server": server_name(workspace),
        "project_id": project_id,
        "view_id": result.view_id,
        "queue_url": result.queue_url,
    }


def _plain(pick: Pick) -> Output:
    """Return a pick for the hash of the stage, as an older al-loop had it."""
    return {name: value for name, value in asdict(pick).items() if name != "validation" or value}


def _report_left_out(reasons: Mapping[str, str], reporter: Reporter) -> None:
    for reason in reasons.values():
        reporter.line(f"  left out: {printable(reason)}")


def _remove_evaluation_copies(workspace: Workspace, ids: list[str], reporter: Reporter) -> list[str]:
    """Remove pool images that an evaluation set holds as another file. Report and return them."""
    copies = remove_evaluation_copies(workspace, ids)
    for name in copies:
        reporter.line(
            f"  left out: {name[:12]} is removed from the pool: an evaluation set has the same image"
        )
    return copies


def _without_need(workspace: Workspace, number: int, ids: list[str], reporter: Reporter) -> list[str]:
    """Return the picks that were labelled since the selection, as by `pool add-labelled`. Report them."""
    labelled = [label.image_id for label in find_labels(workspace.store, ids)]
    for name in labelled:
        reporter.line(f"  left out: {name[:12]} has a label already")
        set_pick_state(workspace.store, number, name, "known")
    return labelled


def pull_stage(
    workspace: Workspace, cycle: Cycle, pushed: Output, reporter: Reporter, *, incomplete: bool
) -> list[LabelledImage]:
    """Pull people's labels. Return the labels to train on, as they were at the pull.

    incomplete: accept unfinished tasks if at least one task is answered.
    Label changes during the training go to the next cycle.
    Raises Waiting while tasks are open.
    """
    stage = stage_of(workspace, cycle, "pull")
    path = stage.folder / LABELS

    def work(folder: Path) -> Output:
        where = pushed["server"], pushed["project_id"]
        pulled = sync.pull_labels(workspace, cycle.number, *where, pushed.get("gold", ()))
        _report_answers(pulled, reporter)
        if not pulled.complete and not (incomplete and pulled.answered):
            raise Waiting(_waiting(workspace, pushed, pulled))
        if pulled.agreement.classes:
            reporter.line(f"  people agree on {printable(str(pulled.agreement))}")
        if pulled.gold.classes:
            reporter.line(f"  known labels: people agree with {printable(str(pulled.gold))}")
        for image, share in sorted(pulled.disagreements.items(), key=lambda item: -item[1])[:_MAX_LISTED]:
            if share > 0:
                reporter.line(f"  {image[:12]}: people disagree on {100 * share:.0f} % of the boxes")
        freeze_sample(workspace, cycle.number, cycle.validation_images, reporter)
        labelled_ids = [item.image.id for item in repository.labelled(workspace)]
        learnt = [*labelled_ids, *unlabelled_with_verdicts(workspace.store)]
        _remove_evaluation_copies(workspace, learnt, reporter)
        partly = _verified(workspace, cycle, reporter)
        images = [*repository.labelled(workspace), *partly.images]
        labels = repository.snapshot(images, outlines=workspace.config.outlined)
        write_json(folder / LABELS, labels)
        return {
            "counts": pulled.counts,
            "labels_hash": json_hash(labels),
            "edits": asdict(pulled.edits),
            "actions": pulled.actions,
            "disagreements": pulled.disagreements,
            "agreement": asdict(pulled.agreement),
            "gold": asdict(pulled.gold),
            "verified": [item.image.id for item in partly.images],
        }

    def valid(done: Output) -> bool:
        if _is_pulled(path, done):
            return True
        reporter.line(f"  {relative(workspace, path)} has changed since the pull: pulling again")
        return False

    done = run_stage(workspace.store, replace(stage, valid=valid), work)
    summary = ", ".join(f"{count} {state}" for state, count in sorted(done["counts"].items()))
    reporter.line(f"  pull: {summary or 'nothing to label'}")
    if not path.is_file():  # an older al-loop kept no snapshot
        return repository.labelled(workspace)
    return repository.from_snapshot(workspace, read_json(path))


def _verified(workspace: Workspace, cycle: Cycle, reporter: Reporter) -> VerifiedImages:
    """Return the images with verified boxes to train on, copied from object stores. Report them."""
    ids = [item.image.id for item in verified(workspace).images]
    not_fetched = repository.keep(workspace, ids)
    _report_left_out(not_fetched, reporter)
    scored = scored_pool(workspace, cycle, ()).intersection(ids) if ids else None
    boxes_of = scored.boxes_by_image() if scored else {}
    partly = verified(workspace, boxes_of.get)
    partly = replace(partly, images=[item for item in partly.images if item.image.id not in not_fetched])
    if partly.images:
        boxes, images = total_boxes(partly.images), len(partly.images)
        reporter.line(f"  verified: {boxes} boxes on {images} images without a label are learnt, too")
    for _ in partly.hasty:
        reporter.line(
            "  note: answers of one al-loop labels verify are not used: all the same, in less than "
            f"{HASTY_S} s"
        )
    return partly


def _report_answers(pulled: sync.PullResult, reporter: Reporter) -> None:
    if pulled.late:
        reporter.line(f"  pull: {pulled.late} labels of earlier cycles were added or changed since")
    for problem in pulled.problems:
        reporter.line(f"  refused: {printable(problem)}")
    for note in pulled.notes:
        reporter.line(f"  note: {printable(note)}")


def _is_pulled(path: Path, done: Output) -> bool:
    """Whether the snapshot is unchanged since the pull. An older al-loop wrote no snapshot."""
    try:
        return "labels_hash" not in done or json_hash(read_json(path)) == done["labels_hash"]
    except (OSError, ValueError, RecursionError):
        return False


def _waiting(workspace: Workspace, pushed: Output, pulled: sync.PullResult) -> str:
    address = queue_address(workspace, pushed) or "al-loop label-studio start"
    validation = queue_address(workspace, pushed["validation"]) if "validation" in pushed else None
    queues = f" {address}"
    if validation:
        queues = f"\n  validation set: {validation}\n  images to train on: {address}"
    lines = [
        f"{pulled.answered} of {pulled.total} labelled. Label the rest:{queues}",
        "Then run again: al-loop cycle",
    ]
    if pulled.awaited:
        overlap = workspace.config.label_studio.overlap
        lines.insert(
            1, f"{pulled.awaited} of these wait for another person: label_studio.overlap = {overlap}"
        )
    if refused := pulled.counts.get("refused", 0):
        command = "al-loop cycle --partial" if pulled.answered else "al-loop cycle --abandon"
        lines.append(f"{refused} refused tasks wait for correction. To continue without them: {command}")
    return "\n".join(lines)
