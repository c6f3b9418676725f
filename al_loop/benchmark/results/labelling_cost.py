"""Time to label images: measured by Label Studio, else by a linear model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from al_loop.state.database.label_table import timed_labels
from al_loop.state.workspace import Workspace

#: Seconds for an image and for each of its boxes, where nothing was measured.
IMAGE_S, BOX_S = 10.0, 7.0
#: Least number of measured images to fit the model to.
MIN_MEASURED = 20


@dataclass(frozen=True)
class LabellingCost:
    """Time to label images.

    image_s, box_s: seconds for an image and for each of its boxes.
    measured: image -> seconds that its task was open.
    fitted_to: number of measured images that the two numbers were fitted to; 0 for given ones.
    """

    image_s: float = IMAGE_S
    box_s: float = BOX_S
    measured: Mapping[str, float] = field(default_factory=dict)
    fitted_to: int = 0

    def minutes(self, images: Iterable[tuple[str, int]]) -> float:
        """Return annotator minutes for images, each given by its id and its number of boxes."""
        return sum(self.measured.get(i, self.image_s + n * self.box_s) for i, n in images) / 60

    def __str__(self) -> str:
        """Return where the minutes come from."""
        fitted = f", fitted to {self.fitted_to} answers" if self.fitted_to else ""
        measured = f"; measured in Label Studio for {len(self.measured)} images" if self.measured else ""
        return f"{self.image_s:.3g} s an image and {self.box_s:.3g} s a box{fitted}{measured}"


def labelling_cost(home: Workspace, image_s: float | None, box_s: float | None) -> LabellingCost:
    """Return the labelling cost in a workspace; image_s, box_s: in place of the fitted numbers."""
    rows = timed_labels(home.store)
    measured = {row.image_id: row.lead_time_s for row in rows}
    model, fitted_to = (IMAGE_S, BOX_S), 0
    if len(rows) >= MIN_MEASURED and image_s is None and box_s is None:
        model, fitted_to = _fitted([row.boxes for row in rows], list(measured.values())), len(rows)
    return LabellingCost(
        model[0] if image_s is None else image_s, model[1] if box_s is None else box_s, measured, fitted_to
    )


def _fitted(boxes: list[int], seconds: list[float]) -> tuple[float, float]:
    """Return a and b >= 0 that fit seconds = a + b * boxes with least squares."""
    from scipy.optimize import nnls

    (image_s, box_s), _ = nnls(np.stack([np.ones(len(boxes)), boxes], axis=1), np.asarray(seconds))
    return float(image_s), float(box_s)
