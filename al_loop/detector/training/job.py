"""A training as files: what the process that wants it tells those that share it.

Plain JSON, tensors, and the model's config in the form in which it lies beside every model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

from al_loop.core.files import read_json, write_json
from al_loop.detector.checkpoint import Weights, read_weights, write_weights
from al_loop.detector.config.stored_config import read_config, write_config
from al_loop.detector.training.settings import TrainSettings
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import ImageFile, LabelledImage

_START, _REST = "start.pth", "job.json"


@dataclass(frozen=True)
class Job:
    """What `al_loop.detector.training.train.train` takes; work: the folder of its work files."""

    config: Config
    start: Weights | None
    training: Sequence[LabelledImage]
    validation: Sequence[LabelledImage]
    settings: TrainSettings
    work: Path

    def write(self, folder: Path) -> None:
        """Write it to a folder."""
        write_config(folder, self.config)
        if self.start is not None:
            write_weights(folder / _START, self.start)
        rest = {
            "training": [_row(item) for item in self.training],
            "validation": [_row(item) for item in self.validation],
            "settings": asdict(self.settings),
            "work": str(self.work),
        }
        write_json(folder / _REST, rest)


def read_job(folder: Path) -> Job:
    """Read what `Job.write` wrote."""
    rest = read_json(folder / _REST)
    start = folder / _START
    return Job(
        config=read_config(
            folder, trusted=True
        ),  # the process that wrote it has read or made it by the rules
        start=read_weights(start) if start.is_file() else None,
        training=[_labelled(row) for row in rest["training"]],
        validation=[_labelled(row) for row in rest["validation"]],
        settings=TrainSettings(**rest["settings"]),
        work=Path(rest["work"]),
    )


def _row(item: LabelledImage) -> dict[str, Any]:
    """Return an image, its boxes and its ignore regions, without outlines: no training reads them."""
    image = {**asdict(item.image), "path": str(item.image.path)}
    return {"image": image, "boxes": _plain(item.boxes), "ignored": _plain(item.ignored)}


def _labelled(row: dict[str, Any]) -> LabelledImage:
    image = ImageFile(**{**row["image"], "path": Path(row["image"]["path"])})
    return LabelledImage(image, _boxes(row["boxes"]), _boxes(row["ignored"]))


def _plain(boxes: Boxes) -> list[list[Any]]:
    return [boxes.xyxy.tolist(), boxes.labels.tolist()]


def _boxes(plain: list[list[Any]]) -> Boxes:
    xyxy, labels = plain
    return Boxes(np.asarray(xyxy, dtype=np.float64).reshape(-1, 4), np.asarray(labels, dtype=np.int64))
