"""Score many images: threads decode them, batches have one size, and shards are written one by one."""

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
from al_loop.detector.inference.predict import Detector, fused, predict
from al_loop.detector.inference.tta import augment
from al_loop.detector.precision import precision_here
from al_loop.detector.transforms import Picture, decoded, fit, fitted_size
from al_loop.images.object_cache import Prefetcher, check_bytes, read_stored
from al_loop.state.prediction_store import ShardStore
from al_loop.structures.images import ImageFile, Prediction

Progress = Callable[[int, int], None]
Say = Callable[[str], None]
#: Images of one resized size, for one forward pass.
Batch = tuple[ImageFile, ...]
#: Batches that are read while one is scored.
_READ_AHEAD = 2


@dataclass(frozen=True)
class ScoreSettings:
    """How to score. Batch size and workers change the numbers by float rounding at most.

    workers: threads that decode images; 0: the images are decoded between the forward passes.
    features: also return the input of the classifier for each box.
    augmentation: a name of `al_loop.detector.inference.tta`, "" for none.
    precision: of the convolutions, "fp32", "bf16" or "auto" (`precision_here`).
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
    batches = [batch for shard in shards for batch in shard]
    last_of_shard = set(accumulate(len(shard) for shard in shards))
    done = len(images) - sum(map(len, batches))
    unreadable: list[Unreadable] = []
    filling: list[Prediction] = []
    scorer = BatchScorer(detector, settings, say)
    for number, loaded in enumerate(_read(detector.config, batches, settings), 1):
        for part in scorer.parts(loaded):
            try:
                filling += scorer.predict(*part)
            except torch.OutOfMemoryError:
                scorer.exceeded = True
        unreadable += loaded.unreadable
        if number in last_of_shard:
            check()
            if filling:
                store.append(filling)
            filling = []
        done += len(loaded.images) + len(loaded.unreadable)
        if on_progress:
            on_progress(done, len(images))
    return unreadable


def planned(config: Config, images: Sequence[ImageFile], settings: ScoreSettings) -> list[list[Batch]]:
    """Return the shards as lists of batches; the images of a batch have one resized size.

    The order of the images does not matter. Shards end where batches end: a resumed run has the same batches.
    """
    reader = Reader.of(config)

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
    """Predicts batches in parts that fit into the memory of the device.

    predict: takes a part, which a caller gets from `parts`.
    exceeded: set by the caller if a part did not fit; smaller parts of the same images follow.
    """

    def __init__(self, detector: Detector, settings: ScoreSettings, say: Say) -> None:
        self._most, self._device, self._say = settings.batch_size, detector.device, say
        self.exceeded = False
        self.predict = partial(
            predict,
            fused(detector, precision_here(settings.precision, detector.device)),
            score_thr=settings.score_thr,
            features=settings.features,
            augmentation=settings.augmentation,
        )

    def parts(self, loaded: Loaded) -> Iterator[tuple[Sequence[ImageFile], Sequence[Picture]]]:
        """Yield images and their pictures; ModelError where a single image does not fit."""
        start = 0
        while start < len(loaded.images):
            part = slice(start, start + self._most)
            yield loaded.images[part], loaded.pictures[part]
            # Here the caller has left its `except`, which would hold the memory of the part.
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
        self._most = tried // 2
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        self._say(
            f"  out of memory with {tried} images per batch: continuing with {self._most}. "
            f"To start there: score.batch_size = {self._most} in al-loop.toml"
        )


@dataclass(frozen=True)
class Reader:
    """Reads and resizes pictures.

    box: (width, height) px that they must fit into.
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
        """Return the picture, or why it cannot be read."""
        try:
            data = self.files.get(image.id)
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

    def read_ahead(self, batches: Sequence[Batch], threads: ThreadPoolExecutor | None) -> Iterator[Loaded]:
        """Yield the batches; the threads read the next ones meanwhile."""
        read_all = map if threads is None else threads.map  # `map` reads when its result is used
        ahead: deque[tuple[Batch, Iterator[Picture | Unreadable]]] = deque()
        for batch in batches:
            ahead.append((batch, read_all(self.read, batch)))
            if len(ahead) > _READ_AHEAD:
                yield _loaded(*ahead.popleft())
        while ahead:
            yield _loaded(*ahead.popleft())


def _loaded(batch: Batch, read: Iterator[Picture | Unreadable]) -> Loaded:
    pairs = list(zip(batch, read, strict=True))
    return Loaded(
        [image for image, item in pairs if not isinstance(item, Unreadable)],
        [item for _, item in pairs if not isinstance(item, Unreadable)],
        [item for _, item in pairs if isinstance(item, Unreadable)],
    )


def _read(config: Config, batches: Sequence[Batch], settings: ScoreSettings) -> Iterator[Loaded]:
    """Yield the batches, read from the workspace; linked images are fetched ahead."""
    reader, workers = Reader.of(config, settings.augmentation), settings.workers
    with ExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor(workers, "read")) if workers else None
        prefetcher = stack.enter_context(Prefetcher(image for batch in batches for image in batch))
        for batch, loaded in zip(batches, reader.read_ahead(batches, threads), strict=True):
            yield loaded
            prefetcher.advance(len(batch))
