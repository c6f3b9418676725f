"""Predictions of a model as pixel maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from al_loop.core.console import Reporter
from al_loop.core.errors import DataError
from al_loop.images import repository
from al_loop.images.pixel_maps import write_maps
from al_loop.models.evaluation import predictions_dir, predictions_on
from al_loop.state.file_hashes import shards_in
from al_loop.state.model_registry import Model
from al_loop.state.score_key import ScoreKey
from al_loop.state.workspace import Workspace
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import ImageFile


@dataclass(frozen=True)
class PredictedMaps:
    """Writes the predictions of a model as pixel maps. Both methods return the number of images.

    folder: where to write them.
    min_score: lowest score of an object in the maps.
    """

    workspace: Workspace
    model: Model
    folder: Path
    min_score: float
    reporter: Reporter

    def of_set(self, name: str) -> int:
        """Write the maps of an evaluation set."""
        truth = repository.validation(self.workspace, name)
        predictions_on(self.workspace, self.model, truth, name, self.reporter)
        scores = predictions_dir(self.workspace.config, self.model)
        return self._write(scores, [item.image for item in truth])

    def of_pool(self) -> int:
        """Write the maps of the unlabelled images of the pool that the model has scored."""
        scores = self.workspace.scores_dir(ScoreKey.of(self.workspace.config, self.model.id))
        return self._write(scores, repository.unlabelled(self.workspace))

    def _write(self, scores: Path, images: Sequence[ImageFile]) -> int:
        """Write the maps of images; scores: folder of the model's predictions.

        Raises DataError if the model predicts no masks.
        """
        by_id = {image.id: image for image in images}
        scored = shards_in(self.workspace, scores).load().intersection(list(by_id))
        if scored.masks is None:
            raise DataError(
                f"{self.model.id} predicts boxes without masks: expected a model that was trained with "
                'task = "segmentation"'
            )

        def items() -> Iterator[tuple[ImageFile, Boxes, Boxes]]:
            with self.reporter.progress("write pixel maps") as progress:
                for index, name in enumerate(scored.image_ids):
                    image = by_id[name]
                    boxes = scored.outlined_boxes(index, image.width, image.height)
                    yield image, boxes.above(self.min_score), Boxes()
                    progress(index + 1, len(by_id))

        return write_maps(self.folder, items(), self.workspace.config.classes)
