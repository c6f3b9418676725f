"""How much time the model's boxes save annotators: images that were shown without them, beside the others."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from al_loop.state.database.cycle_table import all_cycles
from al_loop.state.database.label_table import TimedLabel, timed_labels
from al_loop.state.stages import output_of_cycle
from al_loop.state.workspace import Workspace
from al_loop.structures.boxes import FloatArray

#: Least number of images without the model's boxes.
LEAST = 5
_RESAMPLES = 2000


@dataclass(frozen=True)
class TimeSaved:
    """Seconds for each labelled box, with and without the model's boxes.

    blind: number of images without them.
    low, high: 95 % interval of `without` - `shown`, over resampled images.
    """

    shown: float
    without: float
    low: float
    high: float
    blind: int

    @property
    def saved(self) -> float:
        """Seconds saved for each box; negative if the model's boxes cost time."""
        return self.without - self.shown


def time_saved(workspace: Workspace) -> TimeSaved | None:
    """Return the time that the model's boxes save, over all cycles. None if it is not known."""
    cycles = [row.number for row in all_cycles(workspace.store)]
    pushed = [output_of_cycle(workspace, number, "push") for number in cycles]
    known = [done for done in pushed if "blind" in done]
    blind = {name for done in known for name in done["blind"]}
    return compare_times(timed_labels(workspace.store), blind) if blind else None


def compare_times(labels: Sequence[TimedLabel], blind: Collection[str]) -> TimeSaved | None:
    """Return the time that boxes save, for each box.

    labels: with a known time.
    blind: images that were shown without the model's boxes.
    """
    rows = [(label.lead_time_s, label.boxes, label.image_id in blind) for label in labels if label.boxes]
    table = np.array(rows).reshape(-1, 3)
    without, shown = table[table[:, 2] == 1, :2], table[table[:, 2] == 0, :2]
    if len(without) < LEAST or len(shown) < LEAST:
        return None
    rng = np.random.default_rng(0)
    differences = _resampled(without, rng) - _resampled(shown, rng)
    low, high = np.quantile(differences, [0.025, 0.975])
    return TimeSaved(_per_box(shown), _per_box(without), float(low), float(high), len(without))


def _per_box(table: FloatArray) -> float:
    seconds, boxes = table.sum(axis=0)
    return float(seconds / boxes)


def _resampled(table: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Return the seconds for each box of resamples of the images."""
    totals = table[rng.integers(0, len(table), (_RESAMPLES, len(table)))].sum(axis=1)
    return np.asarray(totals[:, 0] / totals[:, 1])
