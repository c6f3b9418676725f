"""The actor on a node of a Ray cluster: a process with one model that scores a shard at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import torch
from mmengine.config import Config

from al_loop.core.errors import ClusterError, DataError
from al_loop.core.versions import __version__
from al_loop.detector.checkpoint import read_weights
from al_loop.detector.config.stored_config import encode_config
from al_loop.detector.device import default_workers
from al_loop.detector.inference.predict import Detector, load_detector
from al_loop.detector.inference.scoring import Batch, BatchScorer, Reader, ScoreSettings, Unreadable
from al_loop.detector.precision import precision_here
from al_loop.images.object_cache import fetch_bytes
from al_loop.state.model_registry import CONFIG, WEIGHTS, Model
from al_loop.structures.images import ImageFile, Prediction
from render.core.tempdirs import scratch_folder
from render.execution.actor_pool import Placement

#: Objects to fetch at a time.
_FETCH_THREADS = 16


@dataclass(frozen=True, eq=False)
class ModelPayload:
    """The data of a model that a node needs. It is sent once.

    config: config of the model, as JSON.
    workers: number of threads that decode images. None: choose it by the cores of the node.
    trusted: see `read_config`.
    """

    model: Model
    weights: bytes
    config: bytes
    workers: int | None
    trusted: bool
    version: str = __version__

    @classmethod
    def of(cls, model: Model, config: Config, workers: int | None, *, trusted: bool) -> ModelPayload:
        """Read the weights of a model. Raises ModelError if they have changed."""
        read_weights(model.weights, model.weights_sha256)
        data = encode_config(config)
        model = replace(model, config_sha256=hashlib.sha256(data).hexdigest())
        return cls(model, model.weights.read_bytes(), data, workers, trusted)


def file_size(image: ImageFile) -> int | None:
    """Return the size of an image's local file. None if it is unreadable or in an object store."""
    try:
        return image.path.stat().st_size if image.url is None else None
    except OSError:
        return None


@dataclass(frozen=True, eq=False)
class ShardResult:
    """Predictions for a shard.

    notes: messages for the user.
    """

    predictions: list[Prediction]
    unreadable: list[Unreadable]
    notes: list[str]


@dataclass(frozen=True)
class MissingFiles:
    """Images of a shard that the node cannot read. The driver must send their bytes."""

    image_ids: tuple[str, ...]


class ScoringActor:
    """Holds one model on the cores or the GPU of a placement."""

    def __init__(self, placement: Placement) -> None:
        self._placement = placement
        self._notes: list[str] = []
        self._detector: Detector | None = None
        self._scorer: BatchScorer | None = None
        self._threads: ThreadPoolExecutor | None = None

    def prepare(self, payload: ModelPayload, precision: str) -> str:
        """Load the model. Return the precision that "auto" means on this node.

        Raises ClusterError if this node has another version of al-loop.
        """
        if payload.version != __version__:
            raise ClusterError(
                f"expected the same al-loop on every node, got {payload.version} on the driver "
                f"and {__version__} on this node"
            )
        cores = self._placement.cores
        torch.set_num_threads(max(1, cores))
        with scratch_folder("weights") as folder:
            (folder / WEIGHTS).write_bytes(payload.weights)
            (folder / CONFIG).write_bytes(payload.config)
            model, device = replace(payload.model, folder=folder), "cuda" if self._placement.gpu else "cpu"
            self._detector = load_detector(model, device, trusted=payload.trusted)
        workers = default_workers(cores) if payload.workers is None else payload.workers
        self._threads = ThreadPoolExecutor(workers, "read") if workers else None
        return precision_here(precision, self._detector.device)

    def score(
        self,
        shard: Sequence[Batch],
        sizes: Mapping[str, int | None],
        files: Mapping[str, bytes],
        settings: ScoreSettings,
        last: bool,
    ) -> ShardResult | MissingFiles:
        """Score a shard, or return which files are missing.

        sizes: sizes of the files on the driver by image id, see `file_size`.
        files: content of the files that this node cannot read, by image id.
        last: score without the missing files, because the driver cannot read them either.
        """
        absent = [image for batch in shard for image in batch if image.id not in files]
        objects = self._fetch_objects([image for image in absent if image.url is not None])
        files_here = [image for image in absent if image.url is None and sizes[image.id] is not None]
        missing = [image.id for image in files_here if file_size(image) != sizes[image.id]]
        missing += [image_id for image_id, data in objects.items() if data is None]
        if missing and not last:
            return MissingFiles(tuple(missing))
        files = {**files, **{image_id: data for image_id, data in objects.items() if data is not None}}
        assert self._detector is not None  # prepare came first
        if self._scorer is None:
            self._scorer = BatchScorer(self._detector, settings, self._notes.append)
        result = ShardResult([], [], [])
        reader = Reader.of(self._detector.config, settings.augmentation, files)
        for loaded in reader.read_ahead(shard, self._threads):
            result.predictions.extend(self._scorer.predictions(loaded))
            result.unreadable.extend(loaded.unreadable)
        result.notes.extend(self._notes)
        self._notes.clear()
        return result

    def _fetch_objects(self, images: Sequence[ImageFile]) -> dict[str, bytes | None]:
        """Fetch images from their object stores. None for an image that this node cannot fetch."""

        def fetch(image: ImageFile) -> bytes | None:
            try:
                return fetch_bytes(image)
            except DataError:
                return None

        with ThreadPoolExecutor(_FETCH_THREADS) as threads:
            return dict(zip((image.id for image in images), threads.map(fetch, images), strict=True))
