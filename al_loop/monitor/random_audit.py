"""AP on images drawn at random. Those that a strategy picks are not representative of the pool."""

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
    """AP of predictions on images drawn at random, with its 95 % interval; nan without a box.

    expected: mean AP of the models on the validation set; None if one was not evaluated.
    """

    images: int
    ap: float = math.nan
    low: float = math.nan
    high: float = math.nan
    expected: float | None = None


def measure(workspace: Workspace, newest: int) -> Audit:
    """Measure on the newest labelled images that were drawn at random, each by the model of its cycle.

    All predictions count, not only those that were shown to people.
    """
    rows = newest_audit(workspace.store, newest)
    # Without new labels the stored result is valid: the detector is not loaded and nothing is resampled.
    ignored = [[r.id, r.ignored] for r in rows if r.ignored]
    digest = json_hash([newest, [[r.id, r.model_id, r.boxes] for r in rows], *([ignored] if ignored else [])])
    stored = read_fact(workspace.store, "audit")
    if stored is not None and (known := json.loads(stored))["digest"] == digest:
        return Audit(**known["audit"])
    audit = _measure(workspace, rows, newest)
    if len(rows) == newest:
        write_fact(workspace.store, "audit", json.dumps({"digest": digest, "audit": asdict(audit)}))
    return audit


def _measure(workspace: Workspace, rows: Sequence[AuditRow], newest: int) -> Audit:
    truth, found, expected = [], {}, []
    for cycle in dict.fromkeys(row.number for row in rows):
        some = [row for row in rows if row.number == cycle]
        predicted = _predicted(workspace, some)
        reached = saved_metrics(workspace, some[0].model_id)
        for row in some:
            if row.id in predicted:
                image = ImageFile(row.id, workspace.root / row.file, row.width, row.height)
                labels = boxes_from_json(row.boxes), boxes_from_json(row.ignored or "[]")
                truth.append(LabelledImage(image, *labels))
                found[image.id] = predicted[image.id]
                expected.append(reached.ap if reached else math.nan)
    if len(truth) < newest or not any(len(item.boxes) for item in truth):
        return Audit(len(truth))
    from al_loop.evaluation.bootstrap import interval
    from al_loop.evaluation.evaluate import evaluate, match

    classes = workspace.config.classes
    low, high = interval(match(truth, found, classes)) or (math.nan, math.nan)
    mean = sum(expected) / len(expected)
    known = mean if math.isfinite(mean) else None
    return Audit(len(truth), evaluate(truth, found, classes).ap, low, high, known)


def _predicted(workspace: Workspace, rows: Sequence[AuditRow]) -> dict[str, Boxes]:
    """Return the predictions of a cycle's model; nothing if its scores are gone."""
    folder = workspace.scores_dir(ScoreKey.of(thawed(rows[0].settings), rows[0].model_id))
    images = [row.id for row in rows]
    try:
        return shards_in(workspace, folder).load(images).boxes_by_image()
    except WorkspaceError:
        return {}
