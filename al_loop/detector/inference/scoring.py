"""Score many images: workers decode them, batches have one size, and shards are written one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, groupby
from typing import Any

import torch
from mmengine.config import Config
from torch.utils.data import DataLoader, Dataset

from al_loop.core.errors import DataError, ModelError
from al_loop.detector.inference.predict import Detector, fused, predict
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
    """How to score. Batch size and workers change the numbers by float rounding at most.

    features: also return the input of the classifier for each box.
    augmentation: a name of `al_loop.detector.inference.tta`, "" for none.
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
    """A batch after reading: the images that could be read with their pictures, and the others."""

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
    """Score every image that `store` does not hold; return those that could not be read.

    say: prints messages for the user.
    check: is called before a shard is stored, and raises where it must not be.
    A killed run loses at most the shard it was filling.
    Raises ModelError for predictions that are not finite: a broken model must not choose what people label.
    """
    shards = planned(detector.config, store.missing(images), settings)
    if not shards:
        return []
    scorer = BatchScorer(detector, settings, say)
    batches = [batch for shard in shards for batch in shard]
    last_of_shard = set(accumulate(len(shard) for shard in shards))
    total = len(images)
    done = total - sum(map(len, batches))
    unreadable: list[Unreadable] = []
    filling: list[Prediction] = []
    for number, loaded in enumerate(_read_ahead(Reader.of(detector.config, settings), batches, settings), 1):
        filling += scorer.score(loaded.images, loaded.pictures)
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
    """Return the shards as lists of batches; the images of a batch have one resized size.

    The order of the images does not matter. Shards end where batches end: a resumed run has the same batches.
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
    """Scores batches: it checks predictions and makes batches smaller when the device is out of memory."""

    def __init__(self, detector: Detector, settings: ScoreSettings, say: Say) -> None:
        self._detector = fused(detector, settings.precision)
        self._settings, self._say = settings, say
        self._most = settings.batch_size

    def score(self, images: Sequence[ImageFile], pictures: Sequence[Picture]) -> list[Prediction]:
        """Return the predictions of the model for a batch."""
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
        """Return predictions, or None when out of memory: the error must be gone before memory is freed."""
        settings = self._settings
        try:
            return predict(self._detector, images, pictures, settings.score_thr, features=settings.features)
        except torch.OutOfMemoryError:
            return None

    def _shrink(self, images: Sequence[ImageFile]) -> None:
        tried = len(images)
        if tried == 1:
            raise ModelError(
                f"{self._detector.device} has too little memory to score a single image "
                f"({images[0].path.name}, {images[0].width}x{images[0].height} px). "
                'Finished shards are kept. Free memory (nvidia-smi lists its users), or set device = "cpu" in al-loop.toml. '
                "Then run the same command again"
            )
        self._most = tried // 2
        if self._detector.device.type == "cuda":
            torch.cuda.empty_cache()
        self._say(
            f"  out of memory with {tried} images per batch: continuing with {self._most}. "
            f"To start there: score.batch_size = {self._most} in al-loop.toml"
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
    """Return the prediction of an augmented copy with its boxes in the original image."""
    if not name or not len(prediction.boxes):
        return prediction
    boxes = prediction.boxes
    xyxy = boxes_in_original(name, boxes.xyxy, image.width, image.height)
    return replace(prediction, boxes=Boxes(xyxy, boxes.labels, boxes.scores))


@dataclass(frozen=True)
class Reader:
    """Reads and resizes pictures.

    box: (width, height) px that they must fit into.
    way: see `fit`.
    """

    box: tuple[int, int]
    enlarge: bool
    augmentation: str
    way: str = "inside"

    @classmethod
    def of(cls, config: Config, settings: ScoreSettings) -> Reader:
        """Return the reader for the config of a model."""
        return cls(
            tuple(config.image_size),
            bool(config.enlarge),
            settings.augmentation,
            config.get("resize", "inside"),
        )

    def read(self, image: ImageFile, data: bytes | None = None) -> Picture | Unreadable:
        """Return the picture, or why it cannot be read; data: the bytes of a file on another machine."""
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
    """Return a batch with what was read of it, in its order."""
    pairs = list(zip(batch, read, strict=True))
    return Loaded(
        [image for image, item in pairs if not isinstance(item, Unreadable)],
        [item for _, item in pairs if not isinstance(item, Unreadable)],
        [item for _, item in pairs if isinstance(item, Unreadable)],
    )


def _read_ahead(reader: Reader, batches: Sequence[Batch], settings: ScoreSettings) -> Iterator[Loaded]:
    """Yield the batches; processes read the next ones meanwhile."""
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
