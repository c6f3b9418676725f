"""Predict photographs that need not be in the workspace."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from al_loop.core.errors import DataError
from al_loop.core.files import name_as_text
from al_loop.core.urls import masked
from al_loop.images import object_stores
from al_loop.images.import_sources import list_files
from al_loop.images.ingest import PreparedImage, prepare_bytes, prepare_image
from al_loop.images.sources import SkippedFiles, is_url
from al_loop.models.scoring import load_detector
from al_loop.state.model_registry import Model
from al_loop.state.workspace import Workspace
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import ImageFile, Prediction
from al_loop.structures.masks import with_masks

#: Photographs that are read ahead, as a number of batches. Those of one size share a forward pass.
_BATCHES = 4


@dataclass(frozen=True, eq=False)
class PredictedPhoto:
    """A photograph with the boxes of a model, best first.

    file: as it was found, without secrets of a URL.
    image: upright and in a format that is stored, as photographs of the pool.
    boxes: with scores, and with outlines of a model that predicts masks; in px of the image.
    """

    file: str
    image: PreparedImage
    boxes: Boxes


@dataclass(frozen=True, eq=False)
class Predictor:
    """Predicts photographs with a model.

    min_score: lowest score of a box.
    refused: files that cannot be read, with reasons; filled while photographs are predicted.
    say: prints messages for the user.
    """

    workspace: Workspace
    model: Model
    min_score: float
    refused: list[tuple[str, str]] = field(default_factory=list)
    say: Callable[[str], None] = print

    def photos(self, files: Sequence[str]) -> Iterator[PredictedPhoto]:
        """Yield the photographs that can be read, in their order."""
        from al_loop.detector.device import default_workers
        from al_loop.detector.inference.scoring import BatchScorer, Reader, ScoreSettings, plan_shards

        config = self.workspace.config
        detector = load_detector(self.workspace, self.model)
        batch, precision = config.score.batch_size, config.score.precision
        step = _BATCHES * batch
        settings = ScoreSettings(self.min_score, batch, 0, step, precision=precision, masks=config.outlined)
        scorer = BatchScorer(detector, settings, self.say)
        # Two pools: what is read ahead must not delay what is decoded now.
        with (
            ThreadPoolExecutor(step, "read") as readers,
            ThreadPoolExecutor(default_workers() + 1) as threads,
        ):
            for read in _read_ahead(files, step, readers):
                images = self._readable(read)
                sizes = [ImageFile(name, Path(file), i.width, i.height) for name, (file, i) in images.items()]
                reader = Reader.of(detector.config, files={name: i.data for name, (_, i) in images.items()})
                batches = [some for shard in plan_shards(detector.config, sizes, settings) for some in shard]
                found: dict[str, Boxes] = {}
                for loaded in reader.read_ahead(batches, threads):
                    for item in scorer.predictions(loaded):
                        found[item.image_id] = _boxes(item, images[item.image_id][1])
                    self.refused.extend((images[lost.image_id][0], lost.reason) for lost in loaded.unreadable)
                for name, (file, image) in images.items():
                    if name in found:
                        yield PredictedPhoto(file, image, found[name])

    def _readable(
        self, read: Sequence[tuple[str, Future[PreparedImage]]]
    ) -> dict[str, tuple[str, PreparedImage]]:
        """Return the files that can be read, by their number."""
        images = {}
        for number, (file, future) in enumerate(read):
            try:
                images[f"{number:06}"] = file, future.result()
            except DataError as error:
                self.refused.append((file, str(error)))
        return images


def _boxes(item: Prediction, image: PreparedImage) -> Boxes:
    """Return predicted boxes, with their masks as outlines if there are masks."""
    return item.boxes if item.masks is None else with_masks(item.boxes, item.masks, image.width, image.height)


def photographs_at(places: Sequence[str]) -> tuple[list[str], SkippedFiles]:
    """Return the photographs of files, folders, globs and URLs, each once, and what is skipped there.

    Raises DataError if there are none.
    """
    skipped = SkippedFiles()
    found = [file.path for place in places for file in list_files(place, skipped)]
    if not found:
        hint = f" ({skipped.line()})" if skipped.suffixes else ""
        raise DataError(f"no photographs at {', '.join(places)}{hint}")
    return list(dict.fromkeys(found)), skipped


def _read_ahead(
    files: Sequence[str], step: int, readers: ThreadPoolExecutor
) -> Iterator[list[tuple[str, Future[PreparedImage]]]]:
    """Yield parts of the files, while the next part is read."""
    ahead: list[tuple[str, Future[PreparedImage]]] = []
    for start in range(0, len(files) + step, step):
        now = ahead
        ahead = [
            (name_as_text(masked(file)), readers.submit(_prepared, file))
            for file in files[start : start + step]
        ]
        if now:
            yield now


def _prepared(file: str) -> PreparedImage:
    """Read a photograph as an import does. Raises DataError with the problem."""
    return prepare_bytes(object_stores.read(file)) if is_url(file) else prepare_image(Path(file))
