"""Scoring many images: decoded in worker processes, in batches of one size, written shard by shard."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, groupby
from typing import Any

import torch
from mmengine.config import Config
from torch.utils.data import DataLoader, Dataset

from al_loop.core.errors import DataError, ModelError
from al_loop.detector.inference.predict import Detector, predict, quickened
from al_loop.detector.inference.tta import augment, boxes_in_original
from al_loop.detector.transforms import Picture, decoded, fit, fitted_size
from al_loop.images.object_cache import Prefetcher, check_bytes, read_stored
from al_loop.state.prediction_store import ShardStore
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import ImageFile, Prediction

Progress = Callable[[int, int], None]
Say = Callable[[str], None]
#: Images of one resized size, for one forward pass.
Batch = tuple[ImageFile, ...]


@dataclass(frozen=True)
class ScoreSettings:
    """How to score; the numbers do not depend on batch size and workers, within float rounding.

    features: keep what the classifier sees of each box.  augmentation: of `al_loop.detector.inference.tta`, "" for none.
    precision: of the convolutions, "fp32" or "bf16".
    """

    score_thr: float
    batch_size: int
    workers: int
    shard_size: int
    features: bool = False
    augmentation: str = ""
    precision: str = "fp32"


@dataclass(frozen=True)
class Unreadable:
    """An image that could not be scored, and why."""

    image_id: str
    reason: str


@dataclass(frozen=True, eq=False)
class Loaded:
    """A batch that was read: pictures of the images that can be, and the others."""

    images: list[ImageFile]
    pictures: list[Picture]
    unreadable: list[Unreadable]


def score_images(
    detector: Detector,
    images: Sequence[ImageFile],
    store: ShardStore,
    settings: ScoreSettings,
    on_progress: Progress | None = None,
    *,
    say: Say = print,
    check: Callable[[], None] = lambda: None,
) -> list[Unreadable]:
    """Score every image that `store` does not hold yet; return those that could not be read.

    say: is told what the user should know.  check: raises where a shard must not be kept.
    A killed run loses at most the shard it was filling. Raises ModelError for predictions that are
    not finite: a broken model must not choose what people label.
    """
    shards = planned(detector.config, store.missing(images), settings)
    if not shards:
        return []
    passes = BatchScorer(detector, settings, say)
    batches = [batch for shard in shards for batch in shard]
    last_of_shard = set(accumulate(len(shard) for shard in shards))
    total = len(images)
    done = total - sum(map(len, batches))
    unreadable: list[Unreadable] = []
    filling: list[Prediction] = []
    for number, loaded in enumerate(_read_ahead(Reader.of(detector.config, settings), batches, settings), 1):
        filling += passes.score(loaded.images, loaded.pictures)
        unreadable += loaded.unreadable
        if number in last_of_shard:
            check()
            if filling:
                store.append(filling)
            filling = []
        done += len(loaded.images) + len(loaded.unreadable)
        if on_progress:
            on_progress(done, total)
    return unreadable


def planned(config: Config, images: Sequence[ImageFile], settings: ScoreSettings) -> list[list[Batch]]:
    """Return the shards, as lists of batches of one resized size each; the pool's order does not matter.

    A shard ends with the batch that fills it, so that what is left after any of them is cut into the same batches.
    """
    reader = Reader.of(config, settings)

    def size(image: ImageFile) -> tuple[int, int]:
        return fitted_size(image.width, image.height, reader.box, reader.enlarge, reader.way)

    shards: list[list[Batch]] = []
    room = 0
    for _, group in groupby(sorted(images, key=lambda image: (size(image), image.id)), key=size):
        same = list(group)
        for start in range(0, len(same), settings.batch_size):
            batch = tuple(same[start : start + settings.batch_size])
            if room <= 0:
                shards.append([])
                room = settings.shard_size
            shards[-1].append(batch)
            room -= len(batch)
    return shards


class BatchScorer:
    """The forward passes of a run: what is found is checked, and batches shrink when the device's memory is short."""

    def __init__(self, detector: Detector, settings: ScoreSettings, say: Say) -> None:
        self._detector = quickened(detector, settings.precision)
        self._settings, self._say = settings, say
        self._most = settings.batch_size

    def score(self, images: Sequence[ImageFile], pictures: Sequence[Picture]) -> list[Prediction]:
        """Return what the model says of a batch that was read."""
        found: list[Prediction] = []
        while len(found) < len(images):
            part = slice(len(found), len(found) + self._most)
            some = self._tried(images[part], pictures[part])
            if some is None:
                self._shrink(images[part])
            else:
                found += some
        return [
            _in_original(p, image, self._settings.augmentation)
            for p, image in zip(_checked(found), images, strict=True)
        ]

    def _tried(self, images: Sequence[ImageFile], pictures: Sequence[Picture]) -> list[Prediction] | None:
        """Return None where the memory does not suffice: the error holds on to it until it is gone itself."""
        settings = self._settings
        try:
            return predict(self._detector, images, pictures, settings.score_thr, features=settings.features)
        except torch.OutOfMemoryError:
            return None

    def _shrink(self, images: Sequence[ImageFile]) -> None:
        tried = len(images)
        if tried == 1:
            raise ModelError(
                f"{self._detector.device} has not the memory to score a single image "
                f"({images[0].path.name}, {images[0].width}x{images[0].height} px). What is done is kept. Free memory "
                '(nvidia-smi says who has it), or set device = "cpu" in al-loop.toml; then run the same command again'
            )
        self._most = tried // 2
        if self._detector.device.type == "cuda":
            torch.cuda.empty_cache()
        self._say(
            f"  out of memory with {tried} images at a time: going on with {self._most}. "
            f"To begin so: score.batch_size = {self._most} in al-loop.toml"
        )


def _checked(predictions: list[Prediction]) -> list[Prediction]:
    for prediction in predictions:
        embedding, distributions = map(torch.from_numpy, (prediction.embedding, prediction.distributions))
        if not (torch.isfinite(embedding).all() and torch.isfinite(distributions).all()):
            raise ModelError(
                f"the model's output for image {prediction.image_id[:12]} is not finite. "
                "Go back to the model before: al-loop rollback"
            )
    return predictions


def _in_original(prediction: Prediction, image: ImageFile, name: str) -> Prediction:
    """A prediction of a changed copy with its boxes where they are in the image itself."""
    if not name or not len(prediction.boxes):
        return prediction
    boxes = prediction.boxes
    xyxy = boxes_in_original(name, boxes.xyxy, image.width, image.height)
    return replace(prediction, boxes=Boxes(xyxy, boxes.labels, boxes.scores))


@dataclass(frozen=True)
class Reader:
    """Reads and resizes pictures; box: (width, height) px that they are made to fit into; way: see `fit`."""

    box: tuple[int, int]
    enlarge: bool
    augmentation: str
    way: str = "inside"

    @classmethod
    def of(cls, config: Config, settings: ScoreSettings) -> Reader:
        """Return the reader that a model's config asks for."""
        return cls(
            tuple(config.image_size),
            bool(config.enlarge),
            settings.augmentation,
            config.get("resize", "inside"),
        )

    def read(self, image: ImageFile, data: bytes | None = None) -> Picture | Unreadable:
        """Return the picture, or why there is none; data: the bytes of the file, where it is not here."""
        try:
            if data is None:
                data = read_stored(image)
            else:
                check_bytes(image, data)
            picture = decoded(data, image.path)
        except DataError as error:
            return Unreadable(image.id, str(error))
        if picture.shape[:2] != (image.height, image.width):
            got = f"{picture.shape[1]}x{picture.shape[0]}"
            return Unreadable(image.id, f"{image.path} is {got} px, expected {image.width}x{image.height}")
        picture = fit(picture, self.box, self.enlarge, self.way)
        return augment(self.augmentation, picture, image.id) if self.augmentation else picture


def load(batch: Batch, read: Iterable[Picture | Unreadable]) -> Loaded:
    """Put together what was read of a batch, in its order."""
    pairs = list(zip(batch, read, strict=True))
    return Loaded(
        [image for image, item in pairs if not isinstance(item, Unreadable)],
        [item for _, item in pairs if not isinstance(item, Unreadable)],
        [item for _, item in pairs if isinstance(item, Unreadable)],
    )


def _read_ahead(reader: Reader, batches: Sequence[Batch], settings: ScoreSettings) -> Iterator[Loaded]:
    """Yield the batches, read by processes while others are scored."""
    ends = list(accumulate(map(len, batches)))
    loader: DataLoader[Any] = DataLoader(
        _Pictures([image for batch in batches for image in batch], reader),
        batch_sampler=[list(range(end - len(batch), end)) for batch, end in zip(batches, ends, strict=True)],
        num_workers=min(settings.workers, len(batches)),
        collate_fn=_collate,
    )
    with Prefetcher(image for batch in batches for image in batch) as prefetcher:
        for batch, loaded in zip(batches, loader, strict=True):
            yield loaded
            prefetcher.advance(len(batch))


class _Pictures(Dataset[Any]):
    def __init__(self, images: Sequence[ImageFile], reader: Reader) -> None:
        self._images, self._reader = images, reader

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[ImageFile, Picture | Unreadable]:
        return self._images[index], self._reader.read(self._images[index])


def _collate(items: list[tuple[ImageFile, Picture | Unreadable]]) -> Loaded:
    return load(tuple(image for image, _ in items), [item for _, item in items])
