"""Scoring many images: decoded in worker processes, in batches of one size, written shard by shard."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from al_loop.boxes import Boxes
from al_loop.detector.changes import change, undo
from al_loop.detector.predict import Detector, predict, quickened
from al_loop.detector.transforms import Picture, fit, fitted_size, read_picture
from al_loop.errors import DataError, ModelError
from al_loop.samples import ImageFile, Prediction
from al_loop.shards import ShardStore

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ScoreSettings:
    """How to score; the numbers do not depend on batch size and workers, within float rounding.

    features: keep what the classifier sees of each box.  change: of `al_loop.detector.changes`, "" for none.
    precision: of the convolutions, "fp32" or "bf16".
    """

    score_thr: float
    batch_size: int
    workers: int
    shard_size: int
    features: bool = False
    change: str = ""
    precision: str = "fp32"


@dataclass(frozen=True)
class Unreadable:
    """An image that could not be scored, and why."""

    image_id: str
    reason: str


def score_images(
    detector: Detector,
    images: Sequence[ImageFile],
    store: ShardStore,
    settings: ScoreSettings,
    on_progress: Progress | None = None,
) -> list[Unreadable]:
    """Score every image that `store` does not hold yet; return those that could not be read.

    A killed run loses at most the shard it was filling. Raises ModelError for predictions that are
    not finite: a broken model must not choose what people label.
    """
    known = store.image_ids()
    todo = [image for image in images if image.id not in known]
    if todo:
        detector = quickened(detector, settings.precision)
    done, total = len(images) - len(todo), len(images)
    unreadable: list[Unreadable] = []
    filling: list[Prediction] = []
    for readable, pictures, failed in _batches(detector, todo, settings):
        unreadable += failed
        if readable:
            found = predict(detector, readable, pictures, settings.score_thr, features=settings.features)
            filling += [
                _unchanged(p, image, settings.change)
                for p, image in zip(_checked(found), readable, strict=True)
            ]
        if len(filling) >= settings.shard_size:
            store.append(filling)
            filling = []
        done += len(readable) + len(failed)
        if on_progress:
            on_progress(done, total)
    if filling:
        store.append(filling)
    return unreadable


def precision_here(wanted: str, device: torch.device) -> str:
    """Return "fp32" or "bf16": for "auto" what the device computes faster without emulating it, else what was asked for."""
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    # torch has no public name for what a CPU computes.
    asked = (
        getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )
    return "bf16" if any(ask() for ask in asked if ask is not None) else "fp32"


def _checked(predictions: list[Prediction]) -> list[Prediction]:
    for prediction in predictions:
        embedding, distributions = map(torch.from_numpy, (prediction.embedding, prediction.distributions))
        if not (torch.isfinite(embedding).all() and torch.isfinite(distributions).all()):
            raise ModelError(
                f"the model's output for image {prediction.image_id[:12]} is not finite. "
                "Go back to the model before: al-loop rollback"
            )
    return predictions


def _unchanged(prediction: Prediction, image: ImageFile, name: str) -> Prediction:
    """A prediction of a changed copy with its boxes where they are in the image itself."""
    if not name or not len(prediction.boxes):
        return prediction
    boxes = prediction.boxes
    xyxy = undo(name, boxes.xyxy, image.width, image.height)
    return replace(prediction, boxes=Boxes(xyxy, boxes.labels, boxes.scores))


def _batches(
    detector: Detector, images: Sequence[ImageFile], settings: ScoreSettings
) -> Iterator[tuple[list[ImageFile], list[Picture], list[Unreadable]]]:
    """Yield batches of one resized size each, in an order that does not depend on the pool's order."""
    box, enlarge = tuple(detector.config.image_size), bool(detector.config.enlarge)

    def size(image: ImageFile) -> tuple[int, int]:
        return fitted_size(image.width, image.height, box, enlarge)

    ordered = sorted(images, key=lambda image: (size(image), image.id))
    plan: list[list[int]] = []
    for _, group in groupby(range(len(ordered)), key=lambda i: size(ordered[i])):
        indices = list(group)
        plan += [indices[i : i + settings.batch_size] for i in range(0, len(indices), settings.batch_size)]
    if not plan:
        return
    loader: DataLoader[Any] = DataLoader(
        _Pictures(ordered, box, enlarge, settings.change),
        batch_sampler=plan,
        num_workers=min(settings.workers, len(plan)),
        collate_fn=_split,
    )
    yield from loader


class _Pictures(Dataset[Any]):
    """Reads and resizes; an image that cannot be read becomes its reason."""

    def __init__(self, images: Sequence[ImageFile], box: tuple[int, int], enlarge: bool, name: str) -> None:
        self.images, self.box, self.enlarge, self.change = images, box, enlarge, name

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[ImageFile, Picture | Unreadable]:
        image = self.images[index]
        try:
            picture = read_picture(image.path)
        except DataError as error:
            return image, Unreadable(image.id, str(error))
        if picture.shape[:2] != (image.height, image.width):
            got = f"{picture.shape[1]}x{picture.shape[0]}"
            return image, Unreadable(
                image.id, f"{image.path} is {got} px, expected {image.width}x{image.height}"
            )
        picture = fit(picture, self.box, self.enlarge)
        return image, change(self.change, picture, image.id) if self.change else picture


def _split(
    items: list[tuple[ImageFile, Picture | Unreadable]],
) -> tuple[list[ImageFile], list[Picture], list[Unreadable]]:
    readable = [image for image, item in items if not isinstance(item, Unreadable)]
    pictures = [item for _, item in items if not isinstance(item, Unreadable)]
    return readable, pictures, [item for _, item in items if isinstance(item, Unreadable)]
