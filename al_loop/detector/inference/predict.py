"""Predictions of a batch: boxes, the class distribution of each box, and pooled features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor
from torch.nn.functional import avg_pool2d

from al_loop.detector.inference import forward_pass, mmdet_pass
from al_loop.detector.inference.forward_pass import Heads, Kept
from al_loop.detector.transforms import Picture
from al_loop.structures.boxes import Boxes, FloatArray, IntArray
from al_loop.structures.images import Float32Array, ImageFile, Prediction


@dataclass(frozen=True, eq=False)
class Detector:
    """A model ready to predict, with its config.

    fused: the copy of the model that predicts (`fused`); None: mmdet's own code predicts, image by image.
    """

    model: Any  # an mmdet two-stage detector, whose parts have no types
    config: Config
    device: torch.device
    fused: Any = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the names of the classes, in the order of the model's outputs."""
        return tuple(self.config.classes)


def fused(detector: Detector, precision: str) -> Detector:
    """Return the detector with a fused copy of its model, in "fp32" or "bf16".

    It is returned as it is where `forward_pass` does not support a part of the model.
    """
    if forward_pass.not_supported(detector.model):
        return detector
    return replace(detector, fused=forward_pass.fuse(detector.model, precision))


@torch.inference_mode()
def predict(
    detector: Detector,
    images: Sequence[ImageFile],
    pictures: Sequence[Picture],
    score_thr: float,
    *,
    features: bool = False,
) -> list[Prediction]:
    """Run the model on images whose resized pictures have one common size.

    images: boxes are scaled back to their sizes.
    pictures: (h, w, 3) uint8 BGR, all of one size: padding would make scores depend on the batch.
    features: also return the input of the classifier for each box.
    """
    height, width = pictures[0].shape[:2]
    if any(picture.shape[:2] != (height, width) for picture in pictures):
        raise ValueError("pictures of one batch must have one size; group them first")
    maps, padded = pyramid(detector, pictures)
    embeddings = _pool(maps[0], (height, width), padded).cpu().numpy()
    heads, kept = detect(detector, maps, len(images), (width, height), score_thr)
    columns = _Columns(
        kept.boxes.double().cpu().numpy(),
        kept.labels.cpu().numpy().astype(np.int64),
        kept.scores.double().cpu().numpy(),
        heads.distributions[kept.rows].cpu().numpy(),
        heads.features[kept.rows].float().cpu().numpy() if features else None,
    )
    ends = np.cumsum(kept.counts).tolist()
    return [
        columns.prediction(image, slice(end - count, end), embedding, (width, height))
        for image, count, end, embedding in zip(images, kept.counts, ends, embeddings, strict=True)
    ]


def pyramid(detector: Detector, pictures: Sequence[Picture]) -> tuple[Sequence[Tensor], Sequence[int]]:
    """Return the feature maps of pictures (h, w, 3), and the (height, width) px of the padded batch."""
    network = detector.fused or detector.model
    images = torch.from_numpy(np.stack(pictures)).to(detector.device).permute(0, 3, 1, 2)
    batch = forward_pass.normalise(network, images).to(next(network.backbone.parameters()).dtype)
    return network.extract_feat(batch.contiguous(memory_format=torch.channels_last)), batch.shape[-2:]


def detect(
    detector: Detector, maps: Sequence[Tensor], count: int, size: tuple[int, int], score_thr: float
) -> tuple[Heads, Kept]:
    """Return the output of the box head for the proposals of `count` images, and the boxes kept of each."""
    if detector.fused is None:
        proposals = mmdet_pass.propose(detector.model, maps, count, size)
        heads = mmdet_pass.classify(detector.model, maps, proposals, size)
        return heads, mmdet_pass.keep(detector.model, heads, score_thr)
    anchors = forward_pass.anchors_of(detector.fused, maps)
    proposals = forward_pass.propose(detector.fused, maps, anchors, size)
    heads = forward_pass.classify(detector.fused, maps, proposals, size)
    return heads, forward_pass.keep(detector.fused, heads, score_thr, size)


@dataclass(frozen=True, eq=False)
class _Columns:
    """The kept boxes of all images of a batch, as arrays."""

    xyxy: FloatArray
    labels: IntArray
    scores: FloatArray
    distributions: Float32Array
    features: Float32Array | None

    def prediction(
        self, image: ImageFile, rows: slice, embedding: Float32Array, size: tuple[int, int]
    ) -> Prediction:
        """Return the prediction of one image, with boxes in px of the image on disk.

        size: (width, height) px it was resized to.
        """
        scale = (image.width / size[0], image.height / size[1])
        xyxy = self.xyxy[rows] * [*scale, *scale]
        solid = (xyxy[:, 2:] > xyxy[:, :2]).all(axis=1)
        return Prediction(
            image_id=image.id,
            boxes=Boxes(xyxy[solid], self.labels[rows][solid], self.scores[rows][solid]),
            distributions=self.distributions[rows][solid],
            embedding=embedding,
            features=None if self.features is None else self.features[rows][solid],
        )


def _pool(p2: Tensor, size: tuple[int, int], padded: Sequence[int]) -> Tensor:
    """Average P2, (n, d, h, w), over the part that shows the image and not the padding; (n, d).

    size, padded: (height, width) px of the image without and with padding.
    """
    rows = max(1, round(p2.shape[2] * size[0] / padded[0]))
    columns = max(1, round(p2.shape[3] * size[1] / padded[1]))
    # Row by row: three times as fast in bf16 as one sum in float32, as exact as the stored half precision.
    return avg_pool2d(p2[:, :, :rows, :columns], (1, columns)).float().mean(dim=(2, 3))
