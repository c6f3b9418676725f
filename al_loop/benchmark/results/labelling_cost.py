"""How long people take to label: as Label Studio measured it, else by a model that is stated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from al_loop.state.database.label_table import timed_labels
from al_loop.state.workspace import Workspace

#: The model without any measurement, seconds for an image and for each of its boxes.
IMAGE_S, BOX_S = 10.0, 7.0
#: Answers from which the model is fitted to them; fewer say too little of it.
ENOUGH = 20
#: A task that was open for more than so many medians was left open.
_LEFT_OPEN = 10.0


@dataclass(frozen=True)
class Pace:
    """Seconds for an image and for a box; measured: image -> seconds that its task was open.

    answers: how many measurements the two numbers were fitted to, 0 for numbers that were given.
    """

    image_s: float = IMAGE_S
    box_s: float = BOX_S
    measured: Mapping[str, float] = field(default_factory=dict)
    answers: int = 0

    def minutes(self, images: Iterable[tuple[str, int]]) -> float:
        """Annotator minutes for images, each by its id and its number of boxes."""
        return sum(self.measured.get(i, self.image_s + n * self.box_s) for i, n in images) / 60

    def __str__(self) -> str:
        """Say where the minutes come from."""
        fitted = f", fitted to {self.answers} answers" if self.answers else ""
        known = f"; measured in Label Studio for {len(self.measured)} images" if self.measured else ""
        return f"{self.image_s:.3g} s an image and {self.box_s:.3g} s a box{fitted}{known}"


def pace_of(home: Workspace, image_s: float | None, box_s: float | None) -> Pace:
    """The pace of a workspace's annotators; image_s, box_s: instead of the fitted or stated ones."""
    rows = timed_labels(home.store)
    seconds = np.array([row.lead_time_s for row in rows], dtype=np.float64)
    bar = _LEFT_OPEN * float(np.median(seconds)) if len(seconds) else 0.0
    kept = [row for row in rows if row.lead_time_s <= bar]
    measured = {row.image_id: row.lead_time_s for row in kept}
    model, answers = (IMAGE_S, BOX_S), 0
    if len(kept) >= ENOUGH and image_s is None and box_s is None:
        model = _fitted([row.boxes for row in kept], list(measured.values()))
        answers = len(kept)
    return Pace(
        model[0] if image_s is None else image_s, model[1] if box_s is None else box_s, measured, answers
    )


def _fitted(boxes: list[int], seconds: list[float]) -> tuple[float, float]:
    """Least squares of seconds = a + b boxes, with a and b not negative."""
    from scipy.optimize import nnls

    (image_s, box_s), _ = nnls(np.stack([np.ones(len(boxes)), boxes], axis=1), np.asarray(seconds))
    return float(image_s), float(box_s)
