"""One look: take in what is new, score it, ask the triggers, and begin a cycle where that is wanted."""

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
from al_loop.models import service
from al_loop.monitor.baseline import baseline
from al_loop.monitor.drift_tests import sight
from al_loop.monitor.inbox import Taken, take
from al_loop.monitor.triggers import Verdict, verdicts
from al_loop.monitor.windows import Window, judge_windows, waiting
from al_loop.state import model_registry
from al_loop.state.database.cycle_table import last_number
from al_loop.state.database.image_table import pool_ids
from al_loop.state.database.model_table import newest_promotion
from al_loop.state.database.monitor_tables import insert_look, newest_look
from al_loop.state.file_hashes import shards_in
from al_loop.state.model_registry import Model
from al_loop.state.workspace import Workspace, now
from al_loop.structures.predictions import ScoredImages


@dataclass(frozen=True)
class Look:
    """What a look found. numbers: means over the new images.  triggered: a cycle is due, or was begun."""

    at: str
    model: str
    inbox: Taken
    new_images: int
    numbers: Mapping[str, float]
    windows: tuple[Window, ...]
    verdicts: tuple[Verdict, ...]
    under_way: int | None  # the cycle that people work on
    triggered: bool
    cycle: CycleResult | None = None


def look(workspace: Workspace, reporter: Reporter, *, act: bool) -> Look:
    """Look once; with `act` a due cycle is begun, and one that is under way goes on as far as it can.

    What was found is kept before anything is begun: a look that is killed is repeated by the next at no loss.
    Raises ModelError while there is no model; what is new is in the pool then all the same.
    """
    with reporter.progress("read the inbox") as progress:
        inbox = take(workspace, progress)
    model = model_registry.current_model(workspace)
    last, promotion = newest_look(workspace.store), newest_promotion(workspace.store)
    since = last or promotion
    fresh = pool_ids(workspace.store, after=since.arrived if since else 0)
    windows, numbers = _judge(workspace, model, fresh, reporter)
    said = tuple(verdicts(workspace))
    under_way = open_cycle_number(workspace)
    held = [v for v in said if v.hold]
    due = [v for v in said if v.due and not (held and v.trigger in ("new-data", "time"))]
    triggered = bool(due) and under_way is None and repository.unlabelled_count(workspace) > 0
    found = Look(now(), model.id, inbox, len(fresh), numbers, tuple(windows), said, under_way, triggered)
    number = 1 + last_number(workspace.store)
    begins = act and triggered
    if fresh or windows or begins or last is None or last.model_id != model.id:
        _remember(workspace, found, number if begins else None)
    if begins or (act and under_way is not None):
        found = replace(found, cycle=run_cycle(workspace, None, reporter))
    return found


def _judge(
    workspace: Workspace, model: Model, fresh: list[str], reporter: Reporter
) -> tuple[list[Window], dict[str, float]]:
    """Score what no window has judged yet, and judge the windows that are full."""
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
    windows = judge_windows(workspace, reference, scored) if full and reference else []
    new = scored.intersection(fresh)
    if not new.image_ids:
        return windows, {}
    seen = sight(new, workspace.config.label_studio.min_score)
    return windows, {
        "boxes_per_image": float(np.mean(seen.boxes)),
        "surest_score": float(np.mean(seen.score)),
        "silent": float(np.mean(seen.boxes == 0)),
    }


def _scored(workspace: Workspace, model: Model, ids: list[str], reporter: Reporter) -> ScoredImages:
    """Scores by the model in use, kept where the next cycle finds them: it scores only what is missing."""
    folder = workspace.scores_dir(model.id)
    images = repository.images_by_id(workspace, ids)
    with reporter.progress("score what is new") as progress:
        unreadable = service.score(
            workspace,
            model,
            images,
            folder,
            progress,
            features=workspace.config.keeps_features,
            say=reporter.line,
        )
    for item in unreadable:
        reporter.line(f"left out: {printable(item.reason)}")
    return shards_in(workspace, folder).load(ids)


def _remember(workspace: Workspace, found: Look, cycle: int | None) -> None:
    insert_look(
        workspace.store,
        found.at,
        found.model,
        json.dumps({**found.numbers, "images": found.new_images}),
        json.dumps([asdict(v) for v in found.verdicts]),
        cycle,
    )


def to_json(found: Look) -> str:
    """A look for machines, in one line."""
    plain = {
        **vars(found),
        "inbox": asdict(found.inbox),
        "windows": [asdict(w) for w in found.windows],
        "verdicts": [asdict(v) for v in found.verdicts],
        "cycle": asdict(found.cycle) if found.cycle else None,
    }
    return json.dumps(plain, ensure_ascii=False)
