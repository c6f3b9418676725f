"""Export a model as one ONNX or TorchScript file, once it is checked against `predict`.

The file takes the bytes of an image and returns boxes (`al_loop.detector.export.graph`). `<file>.json` beside
it says how to use it, and `config.json` is the resolved mmdet config. The JSON is written last: an export
without it is not complete.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from al_loop.core.errors import ModelError
from al_loop.core.files import atomic_file, file_sha256, write_json
from al_loop.core.versions import versions
from al_loop.detector.config.stored_config import write_config
from al_loop.detector.export.file_formats import (
    Run,
    load_onnx,
    load_torchscript,
    write_onnx,
    write_torchscript,
)
from al_loop.detector.export.graph import DetectionGraph
from al_loop.detector.inference.predict import Detector, fused, predict
from al_loop.detector.transforms import Picture
from al_loop.state.model_registry import CONFIG
from al_loop.structures.boxes import Boxes, FloatArray, IntArray, iou
from al_loop.structures.images import ImageFile

#: The formats that are tried, in this order, for each value of `format`.
FORMATS = {"onnx": ("onnx",), "torchscript": ("torchscript",), "auto": ("onnx", "torchscript")}
BOX_TOLERANCE_PX = 0.5
SCORE_TOLERANCE = 1e-3

_SUFFIX = {"onnx": ".onnx", "torchscript": ".torchscript.pt"}
_WRITERS = {"onnx": write_onnx, "torchscript": write_torchscript}
_LOADERS = {"onnx": load_onnx, "torchscript": load_torchscript}
_PACKAGES = ("al-loop", "torch", "torchvision", "mmdet", "onnx", "onnxruntime")


@dataclass(frozen=True)
class Agreement:
    """The differences between the exported file and `predict`, over all pictures.

    images, boxes: how many were compared; without boxes nothing is proven.
    box_px: largest difference of a coordinate.
    score: largest difference of a score.
    unmatched: boxes of only one of the two.
    at_threshold: such boxes within SCORE_TOLERANCE of the score threshold, where rounding decides; they are
        not in `unmatched`.
    """

    images: int
    boxes: int
    box_px: float
    score: float
    unmatched: int
    at_threshold: int

    @property
    def good(self) -> bool:
        """Whether both find the same boxes, within the tolerances."""
        return not self.unmatched and self.box_px <= BOX_TOLERANCE_PX and self.score <= SCORE_TOLERANCE

    def check(self, kind: str) -> None:
        """Raise ModelError unless it is good; kind: format of the file."""
        if not self.good:
            raise ModelError(
                f"the {kind} file does not agree with the model on {self.images} images: coordinates differ "
                f"by up to {self.box_px:.3g} px (allowed: {BOX_TOLERANCE_PX}), scores by up to "
                f"{self.score:.2g} (allowed: {SCORE_TOLERANCE}), and {self.unmatched} boxes are found by "
                f"only one of the two (besides {self.boxes} by both). It was not kept"
            )


@dataclass(frozen=True)
class Exported:
    """An export that agreed with `predict`.

    file: the model.
    notes: its JSON.
    format: "onnx" or "torchscript".
    size: (width, height) px of the input.
    skipped: why "auto" fell back to TorchScript, else "".
    """

    file: Path
    notes: Path
    format: str
    size: tuple[int, int]
    agreement: Agreement
    skipped: str = ""


def export_model(
    detector: Detector,
    pictures: Sequence[Picture],
    folder: Path,
    format: str,
    score_thr: float,
    weights_sha256: str,
) -> Exported:
    """Write the detector to `folder` as one file, once it agrees with `predict` on every picture.

    pictures: (h, w, 3) uint8 BGR, resized as for `predict`. The input of the file has their size, or that of
        the config if they differ: smaller ones are padded to the right and below with the mean colour.
    format: "onnx", "torchscript", or "auto": ONNX, or TorchScript where that cannot be written or disagrees.
    score_thr: boxes at or below it are left out, inside the file.
    weights_sha256: hash of the weights, for the notes.
    Raises ModelError where no format could be written that agrees; an earlier export stays as it was.
    """
    if format not in FORMATS:
        raise ModelError(f"no export format {format!r}: expected one of {', '.join(FORMATS)}")
    if not pictures:
        raise ModelError(
            "an export is checked on real images, got none. Add some: al-loop pool add PHOTOS..."
        )
    sizes = {(picture.shape[1], picture.shape[0]) for picture in pictures}
    width, height = sizes.pop() if len(sizes) == 1 else detector.config.image_size
    network = deepcopy(detector.model).cpu().eval()
    on_cpu = fused(Detector(network, detector.config, torch.device("cpu")), "fp32")
    graph = DetectionGraph(on_cpu, (width, height), score_thr).eval()
    frames = [_framed(detector, picture, (width, height)) for picture in pictures]
    image = ImageFile("frame", Path("frame"), width, height)
    expected = [predict(on_cpu, [image], [frame], score_thr)[0].boxes for frame in frames]
    folder.mkdir(parents=True, exist_ok=True)
    skipped = ""
    for kind in FORMATS[format]:
        file = folder / f"model{_SUFFIX[kind]}"
        notes = file.with_name(f"{file.name}.json")
        try:
            with atomic_file(file) as draft:
                _WRITERS[kind](graph, frames[0], Path(draft.name))
                agreement = compare(_LOADERS[kind](Path(draft.name)), frames, expected, score_thr)
                agreement.check(kind)
                notes.unlink(missing_ok=True)
            exported = Exported(file, notes, kind, (width, height), agreement, skipped)
            write_config(folder, detector.config)
            write_json(notes, _notes(exported, on_cpu, score_thr, weights_sha256))
            return exported
        except ModelError as error:
            if kind == FORMATS[format][-1]:
                raise ModelError(f"{error}{f'; before that: {skipped}' if skipped else ''}") from error
            skipped = str(error)
    raise AssertionError("every format was tried")


def compare(run: Run, frames: Sequence[Picture], expected: Sequence[Boxes], score_thr: float) -> Agreement:
    """Return the differences between an exported file and the expected boxes of each frame.

    frames: (h, w, 3) uint8 BGR of the file's input size.
    """
    rows = []
    for frame, wanted in zip(frames, expected, strict=True):
        xyxy, scores, labels = run(frame)
        got = Boxes(xyxy.astype(np.float64), labels.astype(np.int64), scores.astype(np.float64))
        mine, theirs = _pairs(got, wanted)
        unpaired = np.concatenate([np.delete(_scores(got), mine), np.delete(_scores(wanted), theirs)])
        at_threshold = int((unpaired <= score_thr + SCORE_TOLERANCE).sum())
        px = np.abs(got.xyxy[mine] - wanted.xyxy[theirs]).max(initial=0.0)
        score = np.abs(_scores(got)[mine] - _scores(wanted)[theirs]).max(initial=0.0)
        rows.append((len(mine), float(px), float(score), len(unpaired) - at_threshold, at_threshold))
    paired, distances, differences, alone, near = zip(*rows, strict=True)
    return Agreement(len(frames), sum(paired), max(distances), max(differences), sum(alone), sum(near))


def _pairs(got: Boxes, wanted: Boxes) -> tuple[IntArray, IntArray]:
    """Return the rows of both sides that are the same box: one class, and an IoU of more than 0.5."""
    common = iou(got.xyxy, wanted.xyxy) * (got.labels[:, None] == wanted.labels[None])
    rows, columns = linear_sum_assignment(common, maximize=True)
    same = common[rows, columns] > 0.5
    return rows[same], columns[same]


def _scores(boxes: Boxes) -> FloatArray:
    return np.zeros(0) if boxes.scores is None else boxes.scores


def _mean_colour(detector: Detector) -> tuple[int, int, int]:
    """Return the BGR bytes that become nearly 0, the network's padding, when they are normalised."""
    before = detector.model.data_preprocessor
    if not before._enable_normalize:
        return (round(before.pad_value),) * 3
    mean = before.mean.flatten().tolist() * (3 // before.mean.numel())
    blue, green, red = (round(value) for value in (mean[::-1] if before._channel_conversion else mean))
    return blue, green, red


def _framed(detector: Detector, picture: Picture, size: tuple[int, int]) -> Picture:
    """Return a picture padded to the right and below to (width, height) px."""
    height, width = picture.shape[:2]
    if width > size[0] or height > size[1]:
        raise ModelError(
            f"a picture of {width}x{height} px does not fit into the export's input of {size[0]}x{size[1]} px"
            ": resize it first, as al_loop.detector.transforms.fit does"
        )
    frame = np.empty((size[1], size[0], 3), dtype=np.uint8)
    frame[:] = _mean_colour(detector)
    frame[:height, :width] = picture
    return frame


def _notes(exported: Exported, detector: Detector, score_thr: float, weights_sha256: str) -> dict[str, Any]:
    width, height = exported.size
    test, rpn = detector.model.roi_head.test_cfg, detector.model.rpn_head.test_cfg
    return {
        "file": exported.file.name,
        "format": exported.format,
        "sha256": file_sha256(exported.file),
        "weights_sha256": weights_sha256,
        "config": CONFIG,
        "classes": detector.classes,
        "input": {
            "name": "image",
            "shape": [1, 3, height, width],
            "type": "uint8",
            "colour_order": "BGR",
            "fit_into": [int(side) for side in detector.config.image_size],
            "enlarge": bool(detector.config.enlarge),
            "resize": detector.config.get("resize", "inside"),
            "padding_bgr": _mean_colour(detector),
        },
        "outputs": {
            "boxes": "(n, 4) float32, x1 y1 x2 y2 in pixels of the input",
            "scores": "(n,) float32, best first",
            "labels": "(n,) int64, index into classes",
        },
        "thresholds": {
            "score": score_thr,
            "nms_iou": float(test.nms.iou_threshold),
            "max_boxes": int(test.max_per_img),
            "proposal_nms_iou": float(rpn.nms.iou_threshold),
            "max_proposals": int(rpn.max_per_img),
        },
        "checked": {
            **asdict(exported.agreement),
            "box_tolerance_px": BOX_TOLERANCE_PX,
            "score_tolerance": SCORE_TOLERANCE,
        },
        "versions": versions(_PACKAGES),
    }
