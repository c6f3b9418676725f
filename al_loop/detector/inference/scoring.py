"""Score many images: decode them in threads, batch them by resized size, write shard by shard."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate, groupby

import torch
from mmengine.config import Config

from al_loop.core.errors import DataError, ModelError
from al_loop.detector.inference.predict import Detector, fuse_detector, predict
from al_loop.detector.inference.tta import augment
from al_loop.detector.precision import precision_here
from al_loop.detector.transforms import Picture, decode_bytes, fit, fitted_size
from al_loop.images.object_cache import Prefetcher, check_bytes, read_stored
from al_loop.state.prediction_store import ShardStore
from al_loop.structures.images import ImageFile, Prediction

Progress = Callable[[int, int], None]
Say = Callable[[str], None]
#: Images of one resized size, for one forward pass.
Batch = tuple[ImageFile, ...]
#: Number of batches to read while one is scored.
_READ_AHEAD = 2


@dataclass(frozen=True)
class ScoreSettings:
    """Settings of scoring. Batch size and workers change the results by float rounding at most.

    workers: number of threads that decode images. 0: decode between the forward passes.
    features: also return the input of the classifier for each box.
    augmentation: name in `al_loop.detector.inference.tta`, "" for none.
    precision: that of the convolutions: "fp32", "bf16" or "auto" (`precision_here`).
    masks: also return the mask of each box, if the model predicts masks.
    """

    score_thr: float
    batch_size: int
    workers: int
    shard_size: int
    features: bool = False
    augmentation: str = ""
    precision: str = "fp32"
    masks: bool = False


@dataclass(frozen=True)
class Unreadable:
    """An image that could not be scored, and why."""

    image_id: str
    reason: str


@dataclass(frozen=True, eq=False)
class Loaded:
    """A batch after reading: the readable images with their pixels, and the unreadable images."""

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
    """Score every image without predictions in `store`. Return the unreadable images.

    say: prints messages for the user.
    check: called before each write of a shard. It raises if the shard must not be stored.
    A killed run loses at most one incomplete shard.
    Raises ModelError for predictions that are not finite: a broken model must not choose what people label.
    """
    shards = plan_shards(detector.config, store.missing(images), settings)
    if not shards:
        return []
    batches = [batch for shard in shards for batch in shard]
    last_of_shard = set(accumulate(len(shard) for shard in shards))
    done = len(images) - sum(map(len, batches))
    unreadable: list[Unreadable] = []
    shard_predictions: list[Prediction] = []
    scorer = BatchScorer(detector, settings, say)
    for number, loaded in enumerate(_read(detector.config, batches, settings), 1):
        for part in scorer.parts(loaded):
            try:
                shard_predictions += scorer.predict(*part)
            except torch.OutOfMemoryError:
                scorer.exceeded = True
        unreadable += loaded.unreadable
        if number in last_of_shard:
            check()
            if shard_predictions:
                store.append(shard_predictions)
            shard_predictions = []
        done += len(loaded.images) + len(loaded.unreadable)
        if on_progress:
            on_progress(done, len(images))
    return unreadable


def plan_shards(config: Config, images: Sequence[ImageFile], settings: ScoreSettings) -> list[list[Batch]]:
    """Divide images into shards of batches. All images of a batch have the same resized size.

    The result does not depend on the order of the images. A shard consists of complete batches, so that a
    resumed run has the same batches.
    """
    reader = Reader.of(config)

    def size(image: ImageFile) -> tuple[int, int]:
        return fitted_size(image.width, image.height, reader.box, reader.enlarge, reader.way)

    shards: list[list[Batch]] = []
    remaining = 0
    for _, group in groupby(sorted(images, key=lambda image: (size(image), image.id)), key=size):
        same = list(group)
        for start in range(0, len(same), settings.batch_size):
            batch = tuple(same[start : start + settings.batch_size])
            if remaining <= 0:
                shards.append([])
                remaining = settings.shard_size
            shards[-1].append(batch)
            remaining -= len(batch)
    return shards


class BatchScorer:
    """Predicts batches in parts that fit into the memory of the device.

    predict: returns the predictions for one part of `parts`.
    exceeded: the caller sets it if a part did not fit. `parts` then yields the same images in smaller parts.
    """

    def __init__(self, detector: Detector, settings: ScoreSettings, say: Say) -> None:
        self._batch_size, self._device, self._say = settings.batch_size, detector.device, say
        self.exceeded = False
        self.predict = partial(
            predict,
            fuse_detector(detector, precision_here(settings.precision, detector.device)),
            score_thr=settings.score_thr,
            features=settings.features,
            masks=settings.masks,
            augmentation=settings.augmentation,
        )

    def predictions(self, loaded: Loaded) -> list[Prediction]:
        """Return the predictions for a batch, see `parts`."""
        found: list[Prediction] = []
        for part in self.parts(loaded):
            try:
                found += self.predict(*part)
            except torch.OutOfMemoryError:
                self.exceeded = True
        return found

    def parts(self, loaded: Loaded) -> Iterator[tuple[Sequence[ImageFile], Sequence[Picture]]]:
        """Yield images with their pixels. Raises ModelError if a single image does not fit into memory."""
        start = 0
        while start < len(loaded.images):
            part = slice(start, start + self._batch_size)
            yield loaded.images[part], loaded.pictures[part]
            # The caller has left its `except` block by now, which would hold the memory of the part.
            if self.exceeded:
                self._shrink(loaded.images[part])
            else:
                start = part.stop

    def _shrink(self, images: Sequence[ImageFile]) -> None:
        tried, self.exceeded = len(images), False
        if tried == 1:
            raise ModelError(
                f"{self._device} has too little memory to score a single image "
                f"({images[0].path.name}, {images[0].width}x{images[0].height} px). "
                "Finished shards are kept. Free memory (nvidia-smi lists its users), "
                'or set device = "cpu" in al-loop.toml. Then run the same command again'
            )
        self._batch_size = tried // 2
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        self._say(
            f"  out of memory with {tried} images per batch: continuing with {self._batch_size}. "
            f"To start there: score.batch_size = {self._batch_size} in al-loop.toml"
        )


@dataclass(frozen=True)
class Reader:
    """Reads and resizes images.

    box: (width, height) px that the images must fit into.
    way: see `fit`.
    files: bytes of images by id, read in place of their files.
    """

    box: tuple[int, int]
    enlarge: bool
    augmentation: str = ""
    way: str = "inside"
    files: Mapping[str, bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, config: Config, augmentation: str = "", files: Mapping[str, bytes] | None = None) -> Reader:
        """Return the reader for the config of a model."""
        way = config.get("resize", "inside")
        return cls(tuple(config.image_size), bool(config.enlarge), augmentation, way, files or {})

    def read(self, image: ImageFile) -> Picture | Unreadable:
        """Return the resized pixels of an image, or the reason why it is unreadable."""
        try:
            data = self.files.get(image.id)
            if data is None:
                data = read_stored(image)
            else:
                check_bytes(image, data)
            picture = decode_bytes(data, image.path)
        except DataError as error:
            return Unreadable(image.id, str(error))
        if picture.shape[:2] != (image.height, image.width):
            got = f"{picture.shape[1]}x{picture.shape[0]}"
            return Unreadable(image.id, f"{image.path} is {got} px, expected {image.width}x{image.height}")
        picture = fit(picture, self.box, self.enlarge, self.way)
        return augment(self.augmentation, picture, image.id) if self.augmentation else picture

    def read_ahead(self, batches: Sequence[Batch], threads: ThreadPoolExecutor | None) -> Iterator[Loaded]:
        """Yield batches in order, while threads read the next batches."""
        # The builtin `map` reads an image when its result is used.
        read_all = map if threads is None else threads.map
        ahead: deque[tuple[Batch, Iterator[Picture | Unreadable]]] = deque()
        for batch in batches:
            ahead.append((batch, read_all(self.read, batch)))
            if len(ahead) > _READ_AHEAD:
                yield _to_loaded(*ahead.popleft())
        while ahead:
            yield _to_loaded(*ahead.popleft())


def _to_loaded(batch: Batch, read: Iterator[Picture | Unreadable]) -> Loaded:
    pairs = list(zip(batch, read, strict=True))
    return Loaded(
        [image for image, item in pairs if not isinstance(item, Unreadable)],
        [item for _, item in pairs if not isinstance(item, Unreadable)],
        [item for _, item in pairs if isinstance(item, Unreadable)],
    )


def _read(config: Config, batches: Sequence[Batch], settings: ScoreSettings) -> Iterator[Loaded]:
    """Yield batches of images that are read from the workspace. Linked images are fetched in advance."""
    reader, workers = Reader.of(config, settings.augmentation), settings.workers
    with ExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor(workers, "read")) if workers else None
        prefetcher = stack.enter_context(Prefetcher(image for batch in batches for image in batch))
        for batch, loaded in zip(batches, reader.read_ahead(batches, threads), strict=True):
            yield loaded
            prefetcher.advance(len(batch))
