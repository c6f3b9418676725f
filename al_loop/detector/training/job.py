"""A training as one object, and as files for the processes that share it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from mmengine.config import Config

from al_loop.core.files import read_regular, write_atomically
from al_loop.detector.checkpoint import Weights, read_weights, write_weights
from al_loop.detector.config.stored_config import read_config, write_config
from al_loop.detector.training.settings import RunSettings
from al_loop.structures.images import LabelledImage

_START, _DATA = "start.pth", "job.json"
_MAX_BYTES = 2 << 30


@dataclass(frozen=True, eq=False)
class TrainingJob:
    """What `al_loop.detector.training.train.train` needs.

    config: of the model.
    start: initial weights; None: random ones.
    training, validation: labelled images.
    run: settings, resolved for this machine.
    folder: work files; a killed training resumes from the checkpoint there.
    """

    config: Config
    start: Weights | None
    training: Sequence[LabelledImage]
    validation: Sequence[LabelledImage]
    run: RunSettings
    folder: Path


@dataclass(frozen=True)
class _Data:
    """The parts of a job that are kept as JSON."""

    training: list[LabelledImage]
    validation: list[LabelledImage]
    run: RunSettings
    folder: Path


def write_job(job: TrainingJob, folder: Path) -> None:
    """Write a job to a folder."""
    write_config(folder, job.config)
    if job.start is not None:
        write_weights(folder / _START, job.start)
    data = _Data(list(job.training), list(job.validation), job.run, job.folder)
    write_atomically(folder / _DATA, msgspec.json.encode(data, enc_hook=_to_plain))


def read_job(folder: Path) -> TrainingJob:
    """Read a job that `write_job` wrote."""
    data = msgspec.json.decode(read_regular(folder / _DATA, _MAX_BYTES), type=_Data, dec_hook=_from_plain)
    start = folder / _START
    return TrainingJob(
        config=read_config(folder, trusted=True),  # the process that wrote it has checked it
        start=read_weights(start) if start.is_file() else None,
        training=data.training,
        validation=data.validation,
        run=data.run,
        folder=data.folder,
    )


def _to_plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else str(value)


def _from_plain(kind: Any, value: Any) -> Any:
    """Build a path, or an array of the annotated type: (n, 4) floats or (n,) integers."""
    if kind is Path:
        return Path(value)
    dtype = kind.__args__[1].__args__[0]
    array = np.asarray(value, dtype=dtype)
    return array.reshape(-1, 4) if dtype is np.float64 else array
