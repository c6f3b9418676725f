"""What lives on a node of a Ray cluster: a process with one model, which scores a shard at a time."""

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
from al_loop.detector.cluster.seats import Seat
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

#: Batches that are read while one is scored.
_AHEAD = 2
#: Objects that are fetched at a time.
_FETCHED = 16


@dataclass(frozen=True, eq=False)
class Kit:
    """What a node needs besides al-loop itself; it travels there once.

    config: its JSON.  device, precision, workers: as in al-loop.toml.  trusted: see `read_config`.
    """

    name: str
    weights: bytes
    weights_sha256: str
    config: bytes
    config_sha256: str
    device: str
    precision: str
    workers: int | None
    trusted: bool
    version: str = __version__

    @classmethod
    def of(
        cls, model: Model, config: Config, device: str, precision: str, workers: int | None, *, trusted: bool
    ) -> Kit:
        """Read the weights of a model; ModelError where they were changed.  config: the model's, as it was read here."""
        read_weights(model.weights, model.weights_sha256)
        data = encoded(config)
        return cls(
            model.id,
            model.weights.read_bytes(),
            model.weights_sha256,
            data,
            hashlib.sha256(data).hexdigest(),
            device,
            precision,
            workers,
            trusted,
        )


@dataclass(frozen=True)
class Sized:
    """An image file with its size in bytes, None where it cannot be read."""

    image: ImageFile
    bytes: int | None

    @classmethod
    def of(cls, image: ImageFile) -> Sized:
        """Look at the file here; an object is fetched by whoever looks at it."""
        if image.url is not None:
            return cls(image, None)
        try:
            return cls(image, image.path.stat().st_size)
        except OSError:
            return cls(image, None)

    def seen(self) -> bool:
        """Say whether this machine has the file too: the same path, the same size."""
        return self.bytes is None or Sized.of(self.image).bytes == self.bytes


@dataclass(frozen=True)
class Ready:
    """precision: what "auto" is there.  sees: whether the node has the image that it was asked for."""

    precision: str
    sees: bool


@dataclass(frozen=True, eq=False)
class Scored:
    """What came of a shard. notes: what the user should know."""

    predictions: list[Prediction]
    unreadable: list[Unreadable]
    notes: list[str]


@dataclass(frozen=True)
class Lacking:
    """Images of a shard that the node does not have: send their bytes with it."""

    image_ids: tuple[str, ...]


class Scorer:
    """An actor: holds one model, on its seat's cores or GPU."""

    def __init__(self, seat: Seat) -> None:
        self._seat = seat
        self._notes: list[str] = []
        self._detector: Detector | None = None
        self._scorer: BatchScorer | None = None
        self._readers: ThreadPoolExecutor | None = None

    def prepare(self, kit: Kit, probe: Sized) -> Ready:
        """Load the model; ClusterError where this is another al-loop."""
        if kit.version != __version__:
            raise ClusterError(
                f"expected the same al-loop on every node, got {kit.version} where the command runs and {__version__} here"
            )
        torch.set_num_threads(max(1, self._seat.cores))
        device = "cuda" if self._seat.gpu else "cpu"
        with scratch_folder("weights") as folder:
            (folder / WEIGHTS).write_bytes(kit.weights)
            (folder / CONFIG).write_bytes(kit.config)
            self._detector = load_detector(
                folder,
                kit.weights_sha256,
                kit.name,
                device,
                config_sha256=kit.config_sha256,
                trusted=kit.trusted,
            )
        workers = default_workers(self._seat.cores) if kit.workers is None else kit.workers
        # Threads and not processes: a fork of a process that has Ray's and torch's threads may hang.
        self._readers = ThreadPoolExecutor(workers, "read") if workers else None
        return Ready(precision_here(kit.precision, self._detector.device), probe.seen())

    def score(
        self,
        shard: Sequence[Batch],
        sizes: Collection[Sized],
        files: Mapping[str, bytes],
        settings: ScoreSettings,
        *,
        last: bool,
    ) -> Scored | Lacking:
        """Score a shard, or say what is missing for it, unless it is the `last` time: nobody else has more.

        sizes: of its images.  files: bytes of those that are known not to be here, by id.
        """
        absent = [item for item in sizes if item.image.id not in files]
        objects = self._objects([item.image for item in absent if item.image.url is not None])
        lacking = [item.image.id for item in absent if item.image.id not in objects and not item.seen()]
        lacking += [name for name, data in objects.items() if data is None]
        if lacking and not last:
            return Lacking(tuple(lacking))
        files = {**files, **{name: data for name, data in objects.items() if data is not None}}
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
        return Scored(predictions, unreadable, notes)

    def _objects(self, images: Sequence[ImageFile]) -> dict[str, bytes | None]:
        """Fetch what stays in an object store, as far as this node may."""

        def fetched(image: ImageFile) -> bytes | None:
            try:
                return fetch_bytes(image)
            except DataError:
                return None

        with ThreadPoolExecutor(_FETCHED) as crew:
            return dict(zip((image.id for image in images), crew.map(fetched, images), strict=True))

    def _read_ahead(
        self, reader: Reader, shard: Sequence[Batch], files: Mapping[str, bytes]
    ) -> Iterator[Loaded]:
        def read(image: ImageFile) -> Picture | Unreadable:
            return reader.read(image, files.get(image.id))

        read_all = map if self._readers is None else self._readers.map
        # With threads, `map` begins at once and its iterator waits; without, the iterator reads.
        ahead: deque[tuple[Batch, Iterator[Picture | Unreadable]]] = deque()
        for batch in shard:
            ahead.append((batch, iter(read_all(read, batch))))
            if len(ahead) > _AHEAD:
                yield load(*ahead.popleft())
        while ahead:
            yield load(*ahead.popleft())
