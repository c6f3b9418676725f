"""AP on images drawn at random: those that a strategy picks are hard by design and would mislead."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from al_loop.core.errors import WorkspaceError
from al_loop.core.files import json_hash
from al_loop.core.frozen_settings import thawed
from al_loop.images.repository import boxes_from_json
from al_loop.state.database.facts import read_fact, write_fact
from al_loop.state.database.pick_table import AuditRow, newest_audit
from al_loop.state.file_hashes import shards_in
from al_loop.state.model_registry import saved_metrics
from al_loop.state.score_key import ScoreKey
from al_loop.state.workspace import Workspace
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import ImageFile, LabelledImage


@dataclass(frozen=True)
class Audit:
    """AP of the boxes that models drew on images drawn at random, with its 95 % interval; nan without a box.

    expected: AP of those models on the validation set, the mean over the images; None where one was not
    judged.
    """

    images: int
    ap: float = math.nan
    low: float = math.nan
    high: float = math.nan
    expected: float | None = None


def measure(workspace: Workspace, newest: int) -> Audit:
    """Measure on the newest images that were drawn at random and labelled: each by the model that picked for its cycle.

    The whole prediction counts, not only the boxes that were good enough to be drawn for people.
    """
    rows = newest_audit(workspace.store, newest)
    # Nothing of it changes while people label nothing new: such a check neither loads the detector nor
    # resamples.
    ignored = [[r.id, r.ignored] for r in rows if r.ignored]
    digest = json_hash([newest, [[r.id, r.model_id, r.boxes] for r in rows], *([ignored] if ignored else [])])
    noted = read_fact(workspace.store, "audit")
    if noted is not None and (known := json.loads(noted))["digest"] == digest:
        return Audit(**known["audit"])
    audit = _measure(workspace, rows, newest)
    if len(rows) == newest:
        value = json.dumps({"digest": digest, "audit": asdict(audit)})
        write_fact(workspace.store, "audit", value)
    return audit


def _measure(workspace: Workspace, rows: Sequence[AuditRow], newest: int) -> Audit:
    truth, found, expected = [], {}, []
    for cycle in dict.fromkeys(row.number for row in rows):
        some = [row for row in rows if row.number == cycle]
        predicted = _predicted(workspace, some[0].model_id, some[0].settings, [r.id for r in some])
        reached = saved_metrics(workspace, some[0].model_id)
        for row in some:
            if row.id not in predicted:
                continue
            image = ImageFile(row.id, workspace.root / row.file, row.width, row.height)
            truth.append(
                LabelledImage(image, boxes_from_json(row.boxes), boxes_from_json(row.ignored or "[]"))
            )
            found[image.id] = predicted[image.id]
            expected.append(reached.ap if reached else math.nan)
    if len(truth) < newest or not any(len(item.boxes) for item in truth):
        return Audit(len(truth))
    from al_loop.evaluation.bootstrap import interval
    from al_loop.evaluation.evaluate import evaluate, match

    classes = workspace.config.classes
    low, high = interval(match(truth, found, classes)) or (math.nan, math.nan)
    mean = sum(expected) / len(expected)
    return Audit(
        len(truth), evaluate(truth, found, classes).ap, low, high, mean if math.isfinite(mean) else None
    )


def _predicted(workspace: Workspace, model_id: str, settings: str, images: list[str]) -> dict[str, Boxes]:
    """What a cycle's model said of images; nothing where its scores are gone."""
    folder = workspace.scores_dir(ScoreKey.of(thawed(settings), model_id))
    try:
        scored = shards_in(workspace, folder).load(images)
    except WorkspaceError:
        return {}
    place = {name: i for i, name in enumerate(scored.image_ids)}
    return {name: scored.boxes(place[name]) for name in images if name in place}
