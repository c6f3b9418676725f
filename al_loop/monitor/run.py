"""One check: read the inbox, score new images, evaluate the triggers, perhaps begin a cycle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np

from al_loop.core.console import Reporter
from al_loop.core.files import printable
from al_loop.images import repository
from al_loop.loop.cycle import CycleResult, run_cycle
from al_loop.loop.cycle_record import open_cycle_number
from al_loop.models import scoring
from al_loop.monitor.baseline import baseline
from al_loop.monitor.drift_tests import image_statistics
from al_loop.monitor.inbox import InboxReport, read_inbox
from al_loop.monitor.triggers import Verdict, evaluate_triggers
from al_loop.monitor.windows import Window, evaluate_windows, waiting
from al_loop.state import model_registry
from al_loop.state.database.cycle_table import last_number
from al_loop.state.database.image_table import pool_ids
from al_loop.state.database.model_table import newest_promotion
from al_loop.state.database.monitor_tables import insert_look, newest_look
from al_loop.state.file_hashes import shards_in
from al_loop.state.model_registry import Model
from al_loop.state.score_key import ScoreKey
from al_loop.state.workspace import Workspace, now
from al_loop.structures.predictions import ScoredImages


@dataclass(frozen=True)
class CheckResult:
    """The result of a check.

    numbers: means over the new images.
    under_way: the open cycle.
    triggered: whether a cycle is due, or was begun.
    """

    at: str
    model: str
    inbox: InboxReport
    new_images: int
    numbers: Mapping[str, float]
    windows: tuple[Window, ...]
    verdicts: tuple[Verdict, ...]
    under_way: int | None
    triggered: bool
    cycle: CycleResult | None = None


def check(workspace: Workspace, reporter: Reporter, *, act: bool) -> CheckResult:
    """Check once; with `act` begin a cycle that is due, or continue the open one.

    The result is recorded before a cycle begins, so the next check repeats a killed one.
    Raises ModelError without a model; new images are in the pool nevertheless.
    """
    with reporter.progress("read the inbox") as progress:
        inbox = read_inbox(workspace, progress)
    model = model_registry.current_model(workspace)
    last, promotion = newest_look(workspace.store), newest_promotion(workspace.store)
    since = last or promotion
    fresh = pool_ids(workspace.store, after=since.arrived if since else 0)
    windows, numbers = _evaluate(workspace, model, fresh, reporter)
    verdicts = evaluate_triggers(workspace)
    under_way = open_cycle_number(workspace)
    held = any(v.hold for v in verdicts)
    due = [v for v in verdicts if v.due and not (held and v.trigger in ("new-data", "time"))]
    triggered = bool(due) and under_way is None and repository.unlabelled_count(workspace) > 0
    result = CheckResult(
        now(), model.id, inbox, len(fresh), numbers, tuple(windows), verdicts, under_way, triggered
    )
    number = 1 + last_number(workspace.store)
    begins = act and triggered
    if fresh or windows or begins or last is None or last.model_id != model.id:
        _record(workspace, result, number if begins else None)
    if begins or (act and under_way is not None):
        result = replace(result, cycle=run_cycle(workspace, None, reporter))
    return result


def _evaluate(
    workspace: Workspace, model: Model, fresh: list[str], reporter: Reporter
) -> tuple[list[Window], dict[str, float]]:
    """Score the images that are in no window yet, and evaluate the windows that are full."""
    reference = baseline(workspace)
    drift = "drift" in workspace.config.monitor.triggers
    queue = waiting(workspace, reference) if reference and drift else []
    full = len(queue) >= workspace.config.monitor.drift.window
    wanted = {*fresh, *queue}
    if full and reference:
        wanted |= {name for ids in reference.drawn.values() for name in ids}
    if not wanted:
        return [], {}
    scored = _scored(workspace, model, sorted(wanted), reporter)
    windows = evaluate_windows(workspace, reference, scored) if full and reference else []
    new = scored.intersection(fresh)
    if not new.image_ids:
        return windows, {}
    statistics = image_statistics(new, workspace.config.label_studio.usual_min_score)
    return windows, {
        "boxes_per_image": float(np.mean(statistics.boxes)),
        "surest_score": float(np.mean(statistics.score)),
        "without_detections": float(np.mean(statistics.boxes == 0)),
    }


def _scored(workspace: Workspace, model: Model, ids: list[str], reporter: Reporter) -> ScoredImages:
    """Score images with the model in use, into the folder of the next cycle, which scores the rest."""
    folder = workspace.scores_dir(ScoreKey.of(workspace.config, model.id))
    images = repository.images_by_id(workspace, ids)
    with reporter.progress("score new images") as progress:
        options = scoring.ScoreOptions(features=workspace.config.keeps_features)
        unreadable = scoring.score(workspace, model, images, folder, progress, options, reporter.line)
    for item in unreadable:
        reporter.line(f"left out: {printable(item.reason)}")
    return shards_in(workspace, folder).load(ids)


def _record(workspace: Workspace, result: CheckResult, cycle: int | None) -> None:
    numbers = json.dumps({**result.numbers, "images": result.new_images})
    verdicts = json.dumps([asdict(verdict) for verdict in result.verdicts])
    insert_look(workspace.store, result.at, result.model, numbers, verdicts, cycle)


def to_json(result: CheckResult) -> str:
    """Return a result as one line of JSON."""
    return json.dumps(asdict(result), ensure_ascii=False)
