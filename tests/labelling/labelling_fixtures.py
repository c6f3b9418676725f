"""What the labelling tests share: a workspace's classes, and images with a model's boxes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from al_loop.boxes import Boxes
from al_loop.labelling import server
from al_loop.labelling.tasks import ExpectedTask, OutgoingTask

CLASSES = ("one", "two & <three>", "drei\u00df")


@dataclass(frozen=True)
class Running:
    """A running server and where it lives."""

    home: Path
    info: server.ServerInfo


def make_tasks(
    folder: Path, count: int, *, batch: str, size: tuple[int, int] = (320, 180)
) -> list[OutgoingTask]:
    """Return tasks with real image files whose names need quoting, and two boxes of a model each."""
    rng = np.random.default_rng(count)
    tasks = []
    for rank in range(count):
        path = folder / f"{batch} teil#{rank} 50%? \u00fc.JPG"
        pixels = rng.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path, format="JPEG")
        boxes = Boxes(
            xyxy=np.array([[10.0, 10.0, 50.0, 60.0], [100.5, 20.25, 400.0, 90.125]]),
            labels=np.array([0, 1]),
            scores=np.array([0.9, 0.4]),
        )
        tasks.append(
            OutgoingTask(
                key=f"ws/{batch}/{rank}",
                image_id=hashlib.sha256(path.read_bytes()).hexdigest(),
                image_path=path,
                file_name=path.name,
                width=size[0],
                height=size[1],
                boxes=boxes,
                uncertainty=1.0 - rank / 100,
                rank=rank,
                reason="the model hesitates between <one> & two",
            )
        )
    return tasks


def expected(tasks: list[OutgoingTask]) -> list[ExpectedTask]:
    """Return what a pull of these tasks looks for."""
    return [ExpectedTask(task.key, task.image_id, task.width, task.height) for task in tasks]
