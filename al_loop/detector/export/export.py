"""Export a model as one ONNX or TorchScript file. The file must agree with `predict`.

The file takes the pixels of an image and returns boxes (`al_loop.detector.export.graph`). `<file>.json`
describes its inputs and outputs. `config.json` is the resolved mmdet config. `<file>.json` is written last:
without it, an export is incomplete.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from al_loop.core.errors import ModelError
from al_loop.core.files import atomic_file, file_sha256, write_json
from al_loop.core.versions import versions
from al_loop.detector.config.stored_config import write_config
from al_loop.detector.export.agreement import Agreement, compare
from al_loop.detector.export.file_formats import (
    load_onnx,
    load_torchscript,
    write_onnx,
    write_torchscript,
)
from al_loop.detector.export.graph import DetectionGraph
from al_loop.detector.inference.predict import Detector, fuse_detector, predict
from al_loop.detector.transforms import Picture
from al_loop.state.model_registry import CONFIG
from al_loop.structures.images import ImageFile
from al_loop.structures.masks import SIDE, THRESHOLD

#: For each value of `format`, the formats to try, in order.
FORMATS = {"onnx": ("onnx",), "torchscript": ("torchscript",), "auto": ("onnx", "torchscript")}
#: What the outputs hold, for `<file>.json`.
_OUTPUTS = {
    "boxes": "(n, 4) float32, x1 y1 x2 y2 in pixels of the input",
    "scores": "(n,) float32, best first",
    "labels": "(n,) int64, index into classes",
    "masks": "(n, {height}, {width}) uint8, 1 on the pixels of the object and 0 elsewhere, in the input",
    "mask_probabilities": f"(n, {SIDE}, {SIDE}) float32, probability of the object in the cells of each "
    "box, row by row. For masks at another scale: scale the boxes, interpolate linearly between the centres "
    f"of the cells, with 0 beyond the outer cells, and take the pixels from {THRESHOLD} on",
}
_SUFFIX = {"onnx": ".onnx", "torchscript": ".torchscript.pt"}
_WRITERS = {"onnx": write_onnx, "torchscript": write_torchscript}
_LOADERS = {"onnx": load_onnx, "torchscript": load_torchscript}
_PACKAGES = ("al-loop", "torch", "torchvision", "mmdet", "onnx", "onnxruntime")


@dataclass(frozen=True)
class Exported:
    """An export that agrees with `predict`.

    file: exported model.
    notes: JSON file that describes it.
    format: "onnx" or "torchscript".
    size: (width, height) px of the input.
    outputs: names of the outputs, in their order.
    skipped: reason why "auto" fell back to TorchScript, else "".
    """

    file: Path
    notes: Path
    format: str
    size: tuple[int, int]
    outputs: tuple[str, ...]
    agreement: Agreement
    skipped: str = ""


def export_model(
    detector: Detector,
    images: Sequence[Picture],
    folder: Path,
    format: str,
    score_thr: float,
    weights_sha256: str,
) -> Exported:
    """Write the detector to `folder` as one file that agrees with `predict` on every image.

    images: (h, w, 3) uint8 BGR, resized as for `predict`. If all have the same size, the file takes this
        size, else the size in the config. Smaller images are padded to the right and below with the mean
        colour.
    format: "onnx", "torchscript" or "auto". "auto" falls back to TorchScript if ONNX fails or disagrees.
    score_thr: the file drops boxes with a score at or below this threshold.
    weights_sha256: hash of the weights, for `<file>.json`.
    Raises ModelError if every format fails or disagrees. An earlier export then stays unchanged.
    """
    if format not in FORMATS:
        raise ModelError(f"no export format {format!r}: expected one of {', '.join(FORMATS)}")
    if not images:
        raise ModelError(
            "an export is checked on real images, got none. Add some: al-loop pool add PHOTOS..."
        )
    sizes = {(image.shape[1], image.shape[0]) for image in images}
    width, height = sizes.pop() if len(sizes) == 1 else detector.config.image_size
    network = deepcopy(detector.model).cpu().eval()
    on_cpu = fuse_detector(Detector(network, detector.config, torch.device("cpu")), "fp32")
    graph = DetectionGraph(on_cpu, (width, height), score_thr).eval()
    padded = [_pad(detector, image, (width, height)) for image in images]
    image_file = ImageFile("padded", Path("padded"), width, height)
    expected = [predict(on_cpu, [image_file], [image], score_thr, masks=True)[0] for image in padded]
    folder.mkdir(parents=True, exist_ok=True)
    skipped = ""
    for kind in FORMATS[format]:
        file = folder / f"model{_SUFFIX[kind]}"
        notes = file.with_name(f"{file.name}.json")
        try:
            with atomic_file(file) as draft:
                _WRITERS[kind](graph, padded[0], Path(draft.name))
                agreement = compare(_LOADERS[kind](Path(draft.name)), padded, expected, score_thr)
                agreement.check(kind)
                notes.unlink(missing_ok=True)
            exported = Exported(file, notes, kind, (width, height), graph.outputs, agreement, skipped)
            write_config(folder, detector.config)
            write_json(notes, _describe(exported, on_cpu, score_thr, weights_sha256))
            return exported
        except ModelError as error:
            if kind == FORMATS[format][-1]:
                raise ModelError(f"{error}{f'; before that: {skipped}' if skipped else ''}") from error
            skipped = str(error)
    raise AssertionError("every format was tried")


def _mean_colour(detector: Detector) -> tuple[int, int, int]:
    """Return the BGR colour whose normalised value is nearly 0, the padding of the network."""
    before = detector.model.data_preprocessor
    if not before._enable_normalize:
        return (round(before.pad_value),) * 3
    mean = before.mean.flatten().tolist() * (3 // before.mean.numel())
    blue, green, red = (round(value) for value in (mean[::-1] if before._channel_conversion else mean))
    return blue, green, red


def _pad(detector: Detector, image: Picture, size: tuple[int, int]) -> Picture:
    """Pad an image to the right and below to (width, height) px."""
    height, width = image.shape[:2]
    if width > size[0] or height > size[1]:
        raise ModelError(
            f"an image of {width}x{height} px does not fit into the export's input of {size[0]}x{size[1]} px"
            ": resize it first, as al_loop.detector.transforms.fit does"
        )
    padded = np.empty((size[1], size[0], 3), dtype=np.uint8)
    padded[:] = _mean_colour(detector)
    padded[:height, :width] = image
    return padded


def _describe(
    exported: Exported, detector: Detector, score_thr: float, weights_sha256: str
) -> dict[str, Any]:
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
        "outputs": {name: _OUTPUTS[name].format(width=width, height=height) for name in exported.outputs},
        "thresholds": {
            "score": score_thr,
            "nms_iou": float(test.nms.iou_threshold),
            "max_boxes": int(test.max_per_img),
            **({"mask": THRESHOLD} if exported.agreement.masks else {}),
            "proposal_nms_iou": float(rpn.nms.iou_threshold),
            "max_proposals": int(rpn.max_per_img),
        },
        "checked": exported.agreement.to_plain(),
        "versions": versions(_PACKAGES),
    }
