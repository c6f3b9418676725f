"""A training job as one object, and as files for the processes of a distributed training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from al_loop.core.files import read_regular, write_atomically
from al_loop.core.training_config import TrainConfig
from al_loop.detector.checkpoint import Weights, read_weights, write_weights
from al_loop.detector.config.stored_config import read_config, write_config
from al_loop.detector.self_training.settings import UnlabelledPart
from al_loop.structures.images import LabelledImage
from al_loop.structures.metrics import MetricName

_START, _DATA = "start.pth", "job.json"
_MAX_BYTES = 2 << 30


@dataclass(frozen=True)
class RunSettings:
    """Settings of one training, including values that are resolved at its start.

    settings: a table of al-loop.toml; its batch_size counts the images of all processes together.
    device: "cpu", "cuda" or one GPU such as "cuda:1".
    lr: learning rate, from the settings or from the model's config.
    workers: decoding processes of each training process.
    precision: that of the forward pass: "fp32", "bf16", or mixed "fp16" on CUDA.
    metric: AP of boxes or of masks, which decides on the best weights and on the end.
    """

    settings: TrainConfig
    device: str
    lr: float
    workers: int
    precision: str = "fp32"
    metric: MetricName = "box_ap"


@dataclass(frozen=True, eq=False)
class TrainingJob:
    """Input of `al_loop.detector.training.train.train`.

    config: mmengine's Config of the model.
    start: initial weights by name. None: random weights.
    training, validation: labelled images.
    run: settings, resolved for this machine.
    folder: folder of work files. A killed training resumes from the checkpoint there.
    rendered: images for `replay` and `copy_paste` beside the training images.
    unlabelled: unlabelled images that it also learns from. settings.batch_size does not count them.
    rendered_share: share of rendered images in the first and in the last step. None: as `replay` says.
    """

    config: Any
    start: Weights | None
    training: Sequence[LabelledImage]
    validation: Sequence[LabelledImage]
    run: RunSettings
    folder: Path
    rendered: Sequence[LabelledImage] = ()
    unlabelled: UnlabelledPart | None = None
    rendered_share: tuple[float, float] | None = None

    @property
    def steps(self) -> int:
        """Total number of steps."""
        return self.run.settings.duration(len(self.training))[0]

    @property
    def val_every(self) -> int:
        """Number of steps between validations, and between checkpoints."""
        return self.run.settings.duration(len(self.training))[1]


def write_job(job: TrainingJob, folder: Path) -> None:
    """Write a job to a folder."""
    write_config(folder, job.config)
    if job.start is not None:
        write_weights(folder / _START, job.start)
    data = msgspec.json.encode(replace(job, config=None, start=None), enc_hook=_to_plain)
    write_atomically(folder / _DATA, data)


def read_job(folder: Path) -> TrainingJob:
    """Read a job that `write_job` wrote."""
    data, start = read_regular(folder / _DATA, _MAX_BYTES), folder / _START
    job = msgspec.json.decode(data, type=TrainingJob, dec_hook=_from_plain)
    # The config is trusted: the process that wrote it has checked it.
    config = read_config(folder, trusted=True)
    return replace(job, config=config, start=read_weights(start) if start.is_file() else None)


def _to_plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else str(value)


def _from_plain(kind: Any, value: Any) -> Any:
    """Build a path, or an array of the annotated type: (n, 4) floats or (n,) integers."""
    if kind is Path:
        return Path(value)
    dtype = kind.__args__[1].__args__[0]
    array = np.asarray(value, dtype=dtype)
    return array.reshape(-1, 4) if dtype is np.float64 else array
