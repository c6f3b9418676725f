"""Predictions on disk: NumPy archives of parallel arrays, one file per shard.

Plain .npz because it needs no further dependency, is read without executing anything
(`allow_pickle=False`) and holds ragged detections as rows with offsets.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from al_loop.boxes import Boxes, FloatArray, IntArray
from al_loop.errors import WorkspaceError
from al_loop.files import write_atomically
from al_loop.samples import Float32Array, Prediction


@dataclass(frozen=True, eq=False)
class ScoredImages:
    """All predictions of one model, as parallel arrays.

    image_ids: n names.  embeddings: (n, d).  offsets: (n + 1,) rows of image i are offsets[i] to
    offsets[i + 1] of xyxy (m, 4) px, labels (m,), scores (m,), distributions (m, C + 1) and features (m, r),
    where r is 0 unless they were asked for.
    """

    image_ids: tuple[str, ...]
    embeddings: Float32Array
    offsets: IntArray
    xyxy: FloatArray
    labels: IntArray
    scores: FloatArray
    distributions: Float32Array
    features: NDArray[np.float16]

    def boxes(self, index: int) -> Boxes:
        """Return the boxes of the image at `index`, best first."""
        rows = slice(self.offsets[index], self.offsets[index + 1])
        return Boxes(self.xyxy[rows], self.labels[rows], self.scores[rows])

    def subset(self, image_ids: Sequence[str]) -> ScoredImages:
        """Return the images named, in that order; KeyError for one that is not here."""
        place = {name: i for i, name in enumerate(self.image_ids)}
        chosen = [place[name] for name in image_ids]
        rows = [np.arange(self.offsets[i], self.offsets[i + 1]) for i in chosen]
        flat = np.concatenate(rows) if rows else np.zeros(0, dtype=np.int64)
        return ScoredImages(
            tuple(image_ids),
            self.embeddings[chosen],
            np.concatenate([[0], np.cumsum([len(r) for r in rows])]).astype(np.int64),
            self.xyxy[flat],
            self.labels[flat],
            self.scores[flat],
            self.distributions[flat],
            self.features[flat],
        )


_FIELDS = ("embeddings", "xyxy", "labels", "scores", "distributions", "features")


class ShardStore:
    """A folder of shards, each written whole; what is there is never scored again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def paths(self) -> list[Path]:
        """Return the shards in the order in which they were written."""
        return sorted(self.folder.glob("shard-*.npz"))

    def image_ids(self) -> set[str]:
        """Return the images that have been scored."""
        return {str(name) for path in self.paths() for name in _open(path, ("image_ids",))["image_ids"]}

    def append(self, predictions: Sequence[Prediction]) -> None:
        """Write one more shard."""
        self.folder.mkdir(parents=True, exist_ok=True)
        counts = [len(p.boxes) for p in predictions]
        scores = [p.boxes.scores if p.boxes.scores is not None else np.zeros(0) for p in predictions]
        buffer = io.BytesIO()
        np.savez(
            buffer,
            image_ids=np.asarray([p.image_id for p in predictions]),
            counts=np.asarray(counts, dtype=np.int64),
            embeddings=np.stack([p.embedding for p in predictions]),
            xyxy=np.concatenate([p.boxes.xyxy for p in predictions]),
            labels=np.concatenate([p.boxes.labels for p in predictions]),
            scores=np.concatenate(scores),
            distributions=np.concatenate([p.distributions for p in predictions]),
            features=np.concatenate([_features(p) for p in predictions]),
        )
        write_atomically(self.folder / f"shard-{len(self.paths()):06d}.npz", buffer.getvalue())

    def load(self, wanted: Collection[str] | None = None) -> ScoredImages:
        """Read all shards, or those that hold an image wanted, at least one; WorkspaceError where there are none."""
        paths = self.paths()
        if wanted is not None:
            names = set(wanted)
            some = [p for p in paths if names.intersection(_open(p, ("image_ids",))["image_ids"].tolist())]
            paths = some or paths[:1]
        shards = [_open(path) for path in paths]
        if not shards:
            raise WorkspaceError(f"no scores in {self.folder}: expected shards there. Run: al-loop cycle")
        counts = np.concatenate([shard["counts"] for shard in shards])
        columns = {name: np.concatenate([shard[name] for shard in shards]) for name in _FIELDS}
        return ScoredImages(
            image_ids=tuple(str(name) for shard in shards for name in shard["image_ids"]),
            offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            **columns,
        )


def _features(prediction: Prediction) -> NDArray[np.float16]:
    """Half precision: they are compared, not added up, and are by far the largest array."""
    if prediction.features is None:
        return np.zeros((len(prediction.boxes), 0), np.float16)
    return prediction.features.astype(np.float16)


def _open(path: Path, fields: Sequence[str] | None = None) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in fields or archive.files}
            if fields is None:  # scores of a version that knew none
                arrays.setdefault("features", np.zeros((len(arrays["labels"]), 0), np.float16))
            return arrays
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise WorkspaceError(f"{path} is damaged ({error}). Delete it and run again: al-loop cycle") from None
