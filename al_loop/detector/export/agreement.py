"""The differences between an exported file and the predictions of the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from al_loop.core.errors import ModelError
from al_loop.detector.export.file_formats import Run
from al_loop.detector.transforms import Picture
from al_loop.structures.boxes import Boxes, FloatArray, IntArray, iou
from al_loop.structures.images import Prediction
from al_loop.structures.masks import THRESHOLD, pixel_probabilities

BOX_TOLERANCE_PX = 0.5
SCORE_TOLERANCE = 1e-3
MASK_TOLERANCE = 0.02  # of a probability; predictions have steps of 1 / 255


@dataclass(frozen=True)
class MaskAgreement:
    """The differences of the masks of compared boxes.

    probability: largest difference of the probability of a cell.
    pixels: number of pixels that only one of the two counts as the object, without those whose probability is
        within MASK_TOLERANCE of the threshold, where rounding decides.
    """

    probability: float
    pixels: int

    @property
    def good(self) -> bool:
        """Whether both predict the same masks."""
        return self.probability <= MASK_TOLERANCE and not self.pixels


@dataclass(frozen=True)
class Agreement:
    """The differences between the exported file and `predict`, over all images.

    images, boxes: numbers of compared images and of compared pairs of boxes. Without pairs, nothing is
        proven.
    box_px: largest difference of a coordinate.
    score: largest difference of a score.
    unmatched: number of boxes that only one of the two predicts.
    at_threshold: number of such boxes with a score within SCORE_TOLERANCE of the threshold, where rounding
        decides. `unmatched` does not include these.
    masks: of their masks. None for a model without masks.
    """

    images: int
    boxes: int
    box_px: float
    score: float
    unmatched: int
    at_threshold: int
    masks: MaskAgreement | None = None

    @property
    def good(self) -> bool:
        """Whether both predict the same boxes and masks, within the tolerances."""
        boxes = not self.unmatched and self.box_px <= BOX_TOLERANCE_PX and self.score <= SCORE_TOLERANCE
        return boxes and (self.masks is None or self.masks.good)

    def check(self, kind: str) -> None:
        """Raise ModelError if a difference exceeds its tolerance. kind: format of the file."""
        if self.good:
            return
        masks = ""
        if self.masks is not None:
            masks = (
                f", probabilities of masks by up to {self.masks.probability:.2g} (allowed: "
                f"{MASK_TOLERANCE}), {self.masks.pixels} of their pixels"
            )
        raise ModelError(
            f"the {kind} file does not agree with the model on {self.images} images: coordinates differ "
            f"by up to {self.box_px:.3g} px (allowed: {BOX_TOLERANCE_PX}), scores by up to "
            f"{self.score:.2g} (allowed: {SCORE_TOLERANCE}){masks}, and {self.unmatched} boxes are predicted "
            f"by only one of the two ({self.boxes} by both). The file was not kept"
        )

    def to_plain(self) -> dict[str, Any]:
        """Return the differences and tolerances as plain data."""
        tolerances = {"box_tolerance_px": BOX_TOLERANCE_PX, "score_tolerance": SCORE_TOLERANCE}
        if self.masks is not None:
            tolerances["mask_tolerance"] = MASK_TOLERANCE
        return {name: value for name, value in asdict(self).items() if value is not None} | tolerances


def compare(
    run: Run, images: Sequence[Picture], expected: Sequence[Prediction], score_thr: float
) -> Agreement:
    """Return the differences between an exported file and the expected predictions of each image.

    images: (h, w, 3) uint8 BGR of the file's input size.
    """
    rows, masks = [], []
    for image, prediction in zip(images, expected, strict=True):
        xyxy, scores, labels, *own_masks = run(image)
        got = Boxes(xyxy.astype(np.float64), labels.astype(np.int64), scores.astype(np.float64))
        wanted = prediction.boxes
        got_rows, wanted_rows = _match(got, wanted)
        unpaired = np.concatenate(
            [np.delete(_scores(got), got_rows), np.delete(_scores(wanted), wanted_rows)]
        )
        at_threshold = int((unpaired <= score_thr + SCORE_TOLERANCE).sum())
        px = np.abs(got.xyxy[got_rows] - wanted.xyxy[wanted_rows]).max(initial=0.0)
        score = np.abs(_scores(got)[got_rows] - _scores(wanted)[wanted_rows]).max(initial=0.0)
        rows.append((len(got_rows), float(px), float(score), len(unpaired) - at_threshold, at_threshold))
        if prediction.masks is not None:
            pasted, probabilities = (output[got_rows] for output in own_masks)
            masks.append(_compare_masks(pasted, probabilities, prediction, wanted_rows))
    paired, px_differences, score_differences, unmatched, near = zip(*rows, strict=True)
    worst = MaskAgreement(max(m.probability for m in masks), sum(m.pixels for m in masks)) if masks else None
    return Agreement(
        len(images),
        sum(paired),
        max(px_differences),
        max(score_differences),
        sum(unmatched),
        sum(near),
        worst,
    )


def _compare_masks(
    pasted: NDArray[Any], probabilities: NDArray[Any], expected: Prediction, rows: IntArray
) -> MaskAgreement:
    """Return the differences between the masks of a file and those of a prediction at some rows."""
    assert expected.masks is not None
    masks, boxes = expected.masks[rows], expected.boxes.xyxy[rows]
    differences = np.abs(probabilities.reshape(masks.shape) - masks / 255)
    pixels = 0
    for got, mask, box in zip(pasted, masks, boxes, strict=True):
        exact = pixel_probabilities(mask, box, (0, 0, got.shape[1], got.shape[0]))
        sure = np.abs(exact - THRESHOLD) > MASK_TOLERANCE
        pixels += int(((exact >= THRESHOLD) != (got > 0))[sure].sum())
    return MaskAgreement(float(differences.max(initial=0.0)), pixels)


def _match(got: Boxes, wanted: Boxes) -> tuple[IntArray, IntArray]:
    """Match boxes of the same class with an IoU above 0.5. Return the rows of the pairs in both."""
    common = iou(got.xyxy, wanted.xyxy) * (got.labels[:, None] == wanted.labels[None])
    rows, columns = linear_sum_assignment(common, maximize=True)
    same = common[rows, columns] > 0.5
    return rows[same], columns[same]


def _scores(boxes: Boxes) -> FloatArray:
    return np.zeros(0) if boxes.scores is None else boxes.scores
