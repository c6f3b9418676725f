"""A detector, and its predictions: boxes, the class distribution of each box, and pooled features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d

from al_loop.core.errors import ModelError
from al_loop.detector.checkpoint import load_into, read_weights
from al_loop.detector.config.model_config import build_model
from al_loop.detector.config.stored_config import read_config
from al_loop.detector.device import choose_device
from al_loop.detector.inference import forward_pass, mask_pass, mmdet_pass
from al_loop.detector.inference.forward_pass import Detections, Heads
from al_loop.detector.inference.tta import boxes_in_original
from al_loop.detector.transforms import Picture
from al_loop.state.model_registry import Model
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import Float32Array, ImageFile, Prediction
from al_loop.structures.masks import SIDE, rounded


@dataclass(frozen=True, eq=False)
class Detector:
    """A model ready to predict, with its config.

    fused: fused copy of the model that predicts (`fuse_detector`). None: mmdet's own code predicts.
    """

    model: Any  # an mmdet two-stage detector, whose parts have no types
    config: Config
    device: torch.device
    fused: Any = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the names of the classes, in the order of the model's outputs."""
        return tuple(self.config.classes)


def load_detector(model: Model, device: str, *, trusted: bool = False) -> Detector:
    """Load the weights and the config of a model. Raises ModelError if its files have changed.

    device: as in al-loop.toml.
    trusted: see `read_config`.
    """
    weights = read_weights(model.weights, model.weights_sha256)
    config = read_config(model.folder, model.config_sha256, trusted=trusted)
    network = build_model(config)
    load_into(network, weights, model.id)
    chosen = torch.device(choose_device(device))
    return Detector(network.to(chosen), config, chosen)


def fuse_detector(detector: Detector, precision: str) -> Detector:
    """Return the detector with a fused copy of its model, in "fp32" or "bf16".

    The detector is returned unchanged if `forward_pass` does not support a part of the model.
    """
    if unsupported_part(detector.model):
        return detector
    return replace(detector, fused=forward_pass.fuse(detector.model, precision))


def unsupported_part(model: Any) -> str | None:
    """Describe the first part of a model that the batched pass does not support. None if there is none."""
    reason = forward_pass.unsupported_part(model)
    return reason or (mask_pass.unsupported_part(model.roi_head) if model.with_mask else None)


@torch.inference_mode()
def predict(
    detector: Detector,
    images: Sequence[ImageFile],
    pictures: Sequence[Picture],
    score_thr: float,
    *,
    features: bool = False,
    masks: bool = False,
    augmentation: str = "",
) -> list[Prediction]:
    """Run the model on a batch of images that were resized to one size.

    images: the original images. Boxes are returned in their pixels.
    pictures: resized pixels of the images, (h, w, 3) uint8 BGR, all of one size, because padding would make
        scores depend on the batch.
    features: also return the input of the classifier for each box.
    masks: also return the mask of each box, if the model predicts masks.
    augmentation: augmentation of the pictures. Boxes are mapped back to the original images; masks are not.
    An untrained model returns no boxes, and the last feature map of its backbone as the embedding.
    Raises ModelError for predictions that are not finite.
    """
    height, width = pictures[0].shape[:2]
    if any(picture.shape[:2] != (height, width) for picture in pictures):
        raise ValueError("pictures of one batch must have one size; group them first")
    batch, masks = as_input(detector, pictures), masks and detector.model.with_mask
    if detector.config.get("untrained", False):
        return _features_alone(detector, images, batch, (height, width), masks=masks)
    maps = (detector.fused or detector.model).extract_feat(batch)
    pooled = _pool(maps[0], (height, width), batch.shape[-2:])
    heads, detections = detect(detector, maps, len(images), (width, height), score_thr)
    columns = {
        "xyxy": detections.boxes.double(),
        "labels": detections.labels.long(),
        "scores": detections.scores.double(),
        "distributions": heads.distributions[detections.rows],
    }
    if features:
        columns["features"] = heads.features[detections.rows].float()
    if masks:
        columns["masks"] = masks_of(detector, maps, detections).flatten(1)
    arrays = {name: column.cpu().numpy() for name, column in columns.items()}
    predictions, end = [], 0
    for image, count, *vectors in zip(images, detections.counts, *pooled, strict=True):
        start, end = end, end + count
        of_image = {name: array[start:end] for name, array in arrays.items()}
        predictions.append(_prediction(image, vectors, of_image, (width, height), augmentation))
    return predictions


def _features_alone(
    detector: Detector, images: Sequence[ImageFile], batch: Tensor, size: tuple[int, int], *, masks: bool
) -> list[Prediction]:
    """Return the pooled last feature map of the backbone for each image, without boxes."""
    last = (detector.fused or detector.model).backbone(batch)[-1]
    pooled = _pool(last, size, batch.shape[-2:])
    columns = {"xyxy": np.zeros((0, 4)), "labels": np.zeros(0, np.int64), "scores": np.zeros(0)}
    columns["distributions"] = np.zeros((0, len(detector.classes) + 1), np.float32)
    columns |= {"masks": np.zeros((0, SIDE**2))} if masks else {}
    return [
        _prediction(image, vectors, columns, (size[1], size[0]), "")
        for image, *vectors in zip(images, *pooled, strict=True)
    ]


def as_input(detector: Detector, pictures: Sequence[Picture]) -> Tensor:
    """Return pictures (h, w, 3) of one size as the padded input of the model: (n, 3, H, W), channels last."""
    network = detector.fused or detector.model
    images = torch.from_numpy(np.stack(pictures)).to(detector.device).permute(0, 3, 1, 2)
    batch = forward_pass.normalise(network, images).to(next(network.backbone.parameters()).dtype)
    return batch.contiguous(memory_format=torch.channels_last)


def detect(
    detector: Detector, maps: Sequence[Tensor], count: int, size: tuple[int, int], score_thr: float
) -> tuple[Heads, Detections]:
    """Return what `forward_pass.detect` returns, for `count` images of (width, height) px."""
    if detector.fused is None:
        return mmdet_pass.detect(detector.model, maps, count, size, score_thr)
    anchors = forward_pass.anchors_of(detector.fused, maps)
    return forward_pass.detect(detector.fused, maps, anchors, size, score_thr)


def masks_of(detector: Detector, maps: Sequence[Tensor], detections: Detections) -> Tensor:
    """Return what `mask_pass.predict_masks` returns."""
    if detector.fused is None:
        return mmdet_pass.predict_masks(detector.model, maps, detections)
    return mask_pass.predict_masks(detector.fused, maps, detections)


def _prediction(
    image: ImageFile,
    pooled: Sequence[Float32Array],
    columns: Mapping[str, NDArray[Any]],
    size: tuple[int, int],
    augmentation: str,
) -> Prediction:
    """Return the prediction of one image, with boxes in px of the image on disk.

    pooled: average and maximum of the feature map.
    columns: a row per detection; boxes, labels, scores, distributions, and where requested features, masks.
    size: (width, height) px that the image was resized to.
    """
    xyxy = columns["xyxy"] * ([image.width / size[0], image.height / size[1]] * 2)
    non_empty = (xyxy[:, 2:] > xyxy[:, :2]).all(axis=1)
    kept = {name: column[non_empty] for name, column in columns.items()}
    embedding, maxima = pooled
    checked = [*pooled, kept["distributions"], kept.get("masks", embedding)]
    if not all(np.isfinite(values).all() for values in checked):
        raise ModelError(
            f"the model's output for image {image.id[:12]} is not finite. "
            "Go back to the previous model: al-loop rollback"
        )
    xyxy = boxes_in_original(augmentation, xyxy[non_empty], image.width, image.height)
    boxes = Boxes(xyxy, kept["labels"], kept["scores"])
    masks = rounded(kept["masks"]) if "masks" in kept else None
    return Prediction(
        image.id,
        boxes,
        kept["distributions"],
        embedding,
        kept.get("features"),
        masks,
        None if augmentation else maxima,
    )


def _pool(
    feature_map: Tensor, size: tuple[int, int], padded: Sequence[int]
) -> tuple[Float32Array, Float32Array]:
    """Return average and maximum of a map, (n, d, h, w), over the image without its padding; each (n, d).

    size, padded: (height, width) px of the image without and with padding.
    """
    rows = max(1, round(feature_map.shape[2] * size[0] / padded[0]))
    columns = max(1, round(feature_map.shape[3] * size[1] / padded[1]))
    shown = feature_map[:, :, :rows, :columns]
    # Row by row: three times as fast in bf16 as one sum in float32, as exact as the stored half precision.
    average = avg_pool2d(shown, (1, columns)).float().mean(dim=(2, 3))
    return average.cpu().numpy(), shown.amax(dim=(2, 3)).float().cpu().numpy()
