"""The actor on a node of a Ray cluster: a process with one model that scores a shard at a time."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from mmengine.config import Config

from al_loop.core.errors import ClusterError, DataError
from al_loop.core.versions import __version__
from al_loop.detector.checkpoint import read_weights
from al_loop.detector.config.stored_config import encoded
from al_loop.detector.cpu import default_workers
from al_loop.detector.inference.load import load_detector
from al_loop.detector.inference.predict import Detector
from al_loop.detector.inference.scoring import (
    Batch,
    BatchScorer,
    Loaded,
    Reader,
    ScoreSettings,
    Unreadable,
    load,
)
from al_loop.detector.precision import precision_here
from al_loop.detector.transforms import Picture
from al_loop.images.object_cache import fetch_bytes
from al_loop.state.model_registry import CONFIG, WEIGHTS, Model
from al_loop.structures.images import ImageFile, Prediction
from render.core.tempdirs import scratch_folder
from render.execution.actor_pool import Placement

#: Batches that are read while one is scored.
_READ_AHEAD = 2
#: Objects that are fetched at a time.
_FETCH_THREADS = 16


@dataclass(frozen=True, eq=False)
class ModelPayload:
    """What a node needs besides al-loop itself. It is sent once.

    config: the model's config as JSON.
    workers: threads that decode images; None: as many as the cores of the node suggest.
    trusted: see `read_config`.
    """

    name: str
    weights: bytes
    weights_sha256: str
    config: bytes
    config_sha256: str
    workers: int | None
    trusted: bool
    version: str = __version__

    @classmethod
    def of(cls, model: Model, config: Config, workers: int | None, *, trusted: bool) -> ModelPayload:
        """Read the weights of a model; raises ModelError if they were changed.

        config: the model's.
        """
        read_weights(model.weights, model.weights_sha256)
        weights, data = model.weights.read_bytes(), encoded(config)
        sha256 = hashlib.sha256(data).hexdigest()
        return cls(model.id, weights, model.weights_sha256, data, sha256, workers, trusted)


@dataclass(frozen=True)
class FileStat:
    """An image file and its size.

    size: in bytes; None if the file cannot be read, or is an object of a store.
    """

    image: ImageFile
    size: int | None

    @classmethod
    def of(cls, image: ImageFile) -> FileStat:
        """Return the size that this machine sees."""
        if image.url is not None:
            return cls(image, None)
        try:
            return cls(image, image.path.stat().st_size)
        except OSError:
            return cls(image, None)

    def is_here(self) -> bool:
        """Whether this machine sees the same file: the same path, the same size."""
        return self.size is None or FileStat.of(self.image).size == self.size


@dataclass(frozen=True, eq=False)
class ShardResult:
    """Predictions for a shard.

    notes: what the user should know.
    """

    predictions: list[Prediction]
    unreadable: list[Unreadable]
    notes: list[str]


@dataclass(frozen=True)
class MissingFiles:
    """Images of a shard that the node does not see: their bytes must be sent."""

    image_ids: tuple[str, ...]


class ScoringActor:
    """Holds one model on the cores or the GPU of a placement."""

    def __init__(self, placement: Placement) -> None:
        self._placement = placement
        self._notes: list[str] = []
        self._detector: Detector | None = None
        self._scorer: BatchScorer | None = None
        self._readers: ThreadPoolExecutor | None = None

    def prepare(self, payload: ModelPayload, precision: str, probe: FileStat) -> tuple[str, bool]:
        """Load the model; return what a precision of "auto" means here, and whether the node sees a file.

        Raises ClusterError if al-loop has another version here.
        """
        if payload.version != __version__:
            raise ClusterError(
                f"expected the same al-loop on every node, got {payload.version} where the command runs "
                f"and {__version__} here"
            )
        cores = self._placement.cores
        torch.set_num_threads(max(1, cores))
        device = "cuda" if self._placement.gpu else "cpu"
        with scratch_folder("weights") as folder:
            (folder / WEIGHTS).write_bytes(payload.weights)
            (folder / CONFIG).write_bytes(payload.config)
            self._detector = load_detector(
                folder,
                payload.weights_sha256,
                payload.name,
                device,
                config_sha256=payload.config_sha256,
                trusted=payload.trusted,
            )
        workers = default_workers(cores) if payload.workers is None else payload.workers
        # Threads, not processes: a fork of a process with the threads of Ray and torch may hang.
        self._readers = ThreadPoolExecutor(workers, "read") if workers else None
        return precision_here(precision, self._detector.device), probe.is_here()

    def score(
        self,
        shard: Sequence[Batch],
        stats: Collection[FileStat],
        files: Mapping[str, bytes],
        settings: ScoreSettings,
        last: bool,
    ) -> ShardResult | MissingFiles:
        """Score a shard, or return which files are missing.

        stats: of the images of the shard.
        files: bytes of images that are known to be missing here, by id.
        last: score without the missing files: the driver cannot read them either.
        """
        absent = [stat for stat in stats if stat.image.id not in files]
        objects = self._objects([stat.image for stat in absent if stat.image.url is not None])
        missing = [stat.image.id for stat in absent if stat.image.id not in objects and not stat.is_here()]
        missing += [image_id for image_id, data in objects.items() if data is None]
        if missing and not last:
            return MissingFiles(tuple(missing))
        files = {**files, **{image_id: data for image_id, data in objects.items() if data is not None}}
        assert self._detector is not None  # prepare came first
        if self._scorer is None:
            self._scorer = BatchScorer(self._detector, settings, self._notes.append)
        reader = Reader.of(self._detector.config, settings)
        predictions: list[Prediction] = []
        unreadable: list[Unreadable] = []
        for loaded in self._read_ahead(reader, shard, files):
            predictions += self._scorer.score(loaded.images, loaded.pictures)
            unreadable += loaded.unreadable
        notes = list(self._notes)
        self._notes.clear()
        return ShardResult(predictions, unreadable, notes)

    def _objects(self, images: Sequence[ImageFile]) -> dict[str, bytes | None]:
        """Fetch images from their object store; None for those that this node cannot fetch."""

        def fetch(image: ImageFile) -> bytes | None:
            try:
                return fetch_bytes(image)
            except DataError:
                return None

        with ThreadPoolExecutor(_FETCH_THREADS) as threads:
            return dict(zip((image.id for image in images), threads.map(fetch, images), strict=True))

    def _read_ahead(
        self, reader: Reader, shard: Sequence[Batch], files: Mapping[str, bytes]
    ) -> Iterator[Loaded]:
        def read(image: ImageFile) -> Picture | Unreadable:
            return reader.read(image, files.get(image.id))

        read_all = map if self._readers is None else self._readers.map
        # With threads, `map` starts reading at once; without, its iterator reads.
        ahead: deque[tuple[Batch, Iterator[Picture | Unreadable]]] = deque()
        for batch in shard:
            ahead.append((batch, iter(read_all(read, batch))))
            if len(ahead) > _READ_AHEAD:
                yield load(*ahead.popleft())
        while ahead:
            yield load(*ahead.popleft())
