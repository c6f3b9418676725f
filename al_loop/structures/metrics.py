"""Metrics of a model on a labelled set. This module does not import NumPy, so that commands start fast."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import msgspec

#: The set for early stopping and promotion.
VALIDATION = "validation"
#: A metric that early stopping and promotion may use.
MetricName = Literal["box_ap", "mask_ap"]
#: How it is called in texts.
METRIC_TITLES: Mapping[MetricName, str] = {"box_ap": "AP", "mask_ap": "mask AP"}
# Fields of `Metrics` that only a segmentation workspace has. They are not stored without a value.
_OPTIONAL = ("masks", "image_level")


@dataclass(frozen=True)
class Estimate:
    """A metric with its 95 % interval over resampled images."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """Return the text "0.500 (0.450 to 0.550)"."""
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True)
class MaskMetrics:
    """COCO metrics of masks, and the overlap of pixels, each in [0, 1].

    ap, ap50, ap75, per_class, low, high: as in `Metrics`, of masks instead of boxes.
    outlines: number of labelled objects with an outline. Objects without one are ignore regions.
    iou, dice: overlap of each class over the pixels of all images. None for a class without an outline.
    mean_iou, mean_dice: means over the classes with an outline.
    """

    ap: float
    ap50: float
    ap75: float
    per_class: dict[str, float | None]
    outlines: int
    iou: dict[str, float | None]
    dice: dict[str, float | None]
    mean_iou: Estimate
    mean_dice: Estimate
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class ImageLevel:
    """How well a model tells for each class whether an image shows an object of it.

    precision: of the images on which the model finds the class, the share that shows it. None if there is no
        such image.
    recall: of the images that show the class, the share on which the model finds it. None if there is none.
    """

    precision: dict[str, Estimate | None]
    recall: dict[str, Estimate | None]


@dataclass(frozen=True)
class Metrics:
    """COCO metrics of a model on a labelled set, each in [0, 1]. A class without labelled boxes has no AP.

    low, high: 95 % interval of AP over resampled images. None if it was not computed.
    masks: of the masks; None in a workspace for boxes, if the set has no outline, or if the model predicts no
        masks.
    image_level: of whole images; None in a workspace for boxes.
    """

    ap: float
    ap50: float
    ap75: float
    per_class: dict[str, float | None]
    images: int
    boxes: int
    low: float | None = None
    high: float | None = None
    masks: MaskMetrics | None = None
    image_level: ImageLevel | None = None

    def of(self, name: MetricName) -> Metrics | MaskMetrics | None:
        """Return the metrics of boxes or of masks. None without masks."""
        return self.masks if name == "mask_ap" else self

    @property
    def headline(self) -> str:
        """Return the AP as text, that of masks first."""
        boxes = f"AP {self.ap:.3f}"
        return f"mask AP {self.masks.ap:.3f}, box {boxes}" if self.masks else boxes


def mask_summary(after: Metrics, before: Metrics | None = None) -> str | None:
    """Return the metrics of masks as text, with those of an earlier model in front. None without masks."""
    new, old = after.masks, before.masks if before else None
    if new is None:
        return None

    def change(read: Callable[[MaskMetrics], float]) -> str:
        return f"{read(new):.3f}" if old is None else f"{read(old):.3f} → {read(new):.3f}"

    return (
        f"mask AP {change(lambda masks: masks.ap)}, AP50 {change(lambda masks: masks.ap50)}, "
        f"mean IoU {change(lambda masks: masks.mean_iou.value)}, "
        f"mean Dice {change(lambda masks: masks.mean_dice.value)} of {new.outlines} outlines"
    )


def metrics_to_plain(metrics: Metrics) -> dict[str, Any]:
    """Return metrics as plain data for a file, without the metrics of masks and images that there are not."""
    plain = asdict(metrics)
    return {name: value for name, value in plain.items() if name not in _OPTIONAL or value is not None}


def metrics_from_plain(plain: Mapping[str, Any]) -> Metrics:
    """Return metrics from the data of `metrics_to_plain`, or of an older al-loop."""
    return msgspec.convert(plain, Metrics)
