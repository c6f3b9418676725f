"""Predictions on disk: columns that grow, and a journal of complete writes.

Columns are raw NumPy arrays that are mapped into memory. A selection among a million images reads only the
rows that it needs. Columns grow at the end, need no dependency, and are read without executing anything.
Parquet files would be smaller, but must be decoded.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from al_loop.core.errors import WorkspaceError
from al_loop.state.database.file_hash_table import JournalHashes
from al_loop.state.id_list import read_lines
from al_loop.structures.images import ImageFile, Prediction
from al_loop.structures.predictions import ScoredImages
from strategies import Ids, margin_sum, mask_margins

JOURNAL = "journal.jsonl"
_IDS = "image_ids.txt"
#: One row per image. What is only compared has half precision. An older al-loop wrote no maxima.
_IMAGE_COLUMNS = {
    "embeddings": np.float16,
    "maxima": np.float16,
    "counts": np.int32,
    "uncertainty": np.float64,
}
#: One row per box.
_BOX_COLUMNS = {
    "xyxy": np.float32,
    "labels": np.int32,
    "scores": np.float32,
    "distributions": np.float32,
    "features": np.float16,
}
#: One row per box, of models with masks.
_MASK_COLUMNS = {"masks": np.uint8, "mask_margins": np.float32}
_DTYPES = _IMAGE_COLUMNS | _BOX_COLUMNS | _MASK_COLUMNS
#: Columns that are read as one value per row.
_PLAIN = ("uncertainty", "labels", "scores", "mask_margins")
_MAX_FLOAT16 = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class _Shard:
    """A line of the journal: rows that were written together.

    crc: CRC-32 of the written bytes, by column.
    widths: number of values per row, by column.
    """

    images: int
    boxes: int
    ids_bytes: int
    crc: dict[str, int]
    widths: dict[str, int]

    def bytes_of(self, name: str) -> int:
        if name == _IDS:
            return self.ids_bytes
        rows = self.images if name in _IMAGE_COLUMNS else self.boxes
        return rows * self.widths[name] * np.dtype(_DTYPES[name]).itemsize


@dataclass
class _Extent:
    """Consecutive shards, starting with the first.

    lines: lines of the journal, one per shard.
    end: number of bytes of each column.
    """

    shards: list[_Shard] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)
    end: dict[str, int] = field(default_factory=dict)

    @property
    def journal(self) -> int:
        return sum(map(len, self.lines))

    def end_with(self, shard: _Shard) -> dict[str, int]:
        return {name: self.end.get(name, 0) + shard.bytes_of(name) for name in shard.crc}

    def add(self, shard: _Shard, line: bytes) -> None:
        self.end = self.end_with(shard)
        self.shards.append(shard)
        self.lines.append(line)


class ShardStore:
    """A folder of columns to which shards are appended.

    A shard is complete once its line is in the journal. The next write overwrites what a kill left after the
    last complete shard. A short or missing column invalidates its shards, and so does a line that differs
    from `hashes`.
    """

    def __init__(self, folder: Path, hashes: JournalHashes | None = None) -> None:
        self.folder, self._hashes = folder, hashes
        self._read: tuple[int, _Extent] | None = None  # size of the journal in bytes, and its content
        self._hashed = False  # whether there are hashes of the journal

    def image_ids(self) -> Ids:
        """Return the scored images, mapped."""
        return self._names(self._complete())

    def missing(self, images: Sequence[ImageFile]) -> list[ImageFile]:
        """Return those of the images that are not scored."""
        places = self.image_ids().places(Ids.of(image.id for image in images)).tolist()
        return [image for image, place in zip(images, places, strict=True) if place < 0]

    def append(self, predictions: Sequence[Prediction]) -> None:
        """Append a shard. Raises WorkspaceError for other widths or a failed write. Earlier shards stay."""
        self.folder.mkdir(parents=True, exist_ok=True)
        extent = self._complete()
        columns = _columns(predictions)
        if extent.shards and "maxima" not in extent.shards[0].widths:
            columns.pop("maxima", None)
        names = "".join(f"{p.image_id}\n" for p in predictions).encode()
        written = {_IDS: names, **{name: column.tobytes() for name, column in columns.items()}}
        shard = _Shard(
            len(predictions),
            len(columns["labels"]),
            len(names),
            {name: zlib.crc32(data) for name, data in written.items()},
            {name: int(np.prod(column.shape[1:])) for name, column in columns.items()},
        )
        if extent.shards and extent.shards[0].widths != shard.widths:
            raise WorkspaceError(
                f"{self.folder} has rows of widths {extent.shards[0].widths}, the new rows have "
                f"{shard.widths}: they are of another model. Delete the folder and run again: al-loop cycle"
            )
        line = json.dumps(vars(shard), sort_keys=True).encode() + b"\n"
        try:
            for name, data in written.items():
                _write_at(self._file(name), extent.end.get(name, 0), data)
            _write_at(self.folder / JOURNAL, extent.journal, line)
        except OSError as error:
            raise WorkspaceError(
                f"scores cannot be written to {self.folder} ({error.strerror}); earlier scores are kept. "
                "Free space, for example with al-loop gc, and run the same command again"
            ) from error
        extent.add(shard, line)
        if self._hashes is not None:
            first = len(extent.lines) - 1 if self._hashed else 0  # an older al-loop stored no hashes
            self._hashes.replace(first, extent.lines[first:])
            self._hashed = True
        self._read = (extent.journal, extent)

    def load(self, wanted: Iterable[str] | None = None) -> ScoredImages:
        """Map all columns, or the rows of the wanted images. Raises WorkspaceError without scores."""
        extent = self._complete()
        if not extent.shards and self._lines():
            raise WorkspaceError(
                f"the scores in {self.folder} are damaged. The next cycle computes them again: al-loop cycle"
            )
        if not extent.shards:
            raise WorkspaceError(f"no scores in {self.folder}: expected columns there. Run: al-loop cycle")
        widths = extent.shards[0].widths
        rows = dict.fromkeys(_IMAGE_COLUMNS, sum(s.images for s in extent.shards))
        rows |= dict.fromkeys([*_BOX_COLUMNS, *_MASK_COLUMNS], sum(s.boxes for s in extent.shards))
        columns = {name: self._mapped(name, rows[name], width) for name, width in widths.items()}
        scored = ScoredImages(
            image_ids=self._names(extent),
            offsets=np.concatenate([[0], np.cumsum(columns.pop("counts")[:, 0], dtype=np.int64)]),
            **{name: columns.pop(name)[:, 0] for name in _PLAIN if name in columns},
            **columns,
        )
        if wanted is None:
            return scored
        return scored.intersection(wanted if isinstance(wanted, Ids) else dict.fromkeys(wanted))

    def forget_damaged(self) -> int:
        """Drop the first damaged shard and all later shards. Return the number of dropped images."""
        intact = self._intact()
        lost = sum(s.images for s in self._complete().shards[len(intact.shards) :])
        if lost:
            _write_at(self.folder / JOURNAL, intact.journal, b"")
            self._read = None
        if self._hashes is not None and (lost or (intact.shards and not self._hashed)):
            self._hashes.replace(0, intact.lines)
        return lost

    def damaged(self) -> int:
        """Return the number of damaged shards and of shards after a damaged one. Change nothing."""
        expected = [] if self._hashes is None else self._hashes.read()
        written = max(len(expected), sum(line.endswith(b"\n") for line in self._lines()))
        return written - len(self._intact().shards)

    def _intact(self) -> _Extent:
        """Return the shards before the first damaged one."""
        complete, intact = self._complete(), _Extent()
        for shard, line in zip(complete.shards, complete.lines, strict=True):
            for name, crc in shard.crc.items():
                with self._file(name).open("rb") as file:
                    file.seek(intact.end.get(name, 0))
                    if zlib.crc32(file.read(shard.bytes_of(name))) != crc:
                        return intact
            intact.add(shard, line)
        return intact

    def extent(self) -> dict[Path, int]:
        """Return the number of bytes of complete shards of each column file, which may be longer."""
        return {self._file(name): end for name, end in self._complete().end.items()}

    def _file(self, name: str) -> Path:
        return self.folder / (name if name == _IDS else f"{name}.bin")

    def _lines(self) -> list[bytes]:
        """Return the lines of the journal."""
        try:
            return (self.folder / JOURNAL).read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return []

    def _complete(self) -> _Extent:
        """Return the shards that are complete by the sizes of the files."""
        if self._read is not None and self._read[0] == _size(self.folder / JOURNAL):
            return self._read[1]
        extent, sizes = _Extent(), dict[str, int]()
        expected = [] if self._hashes is None else self._hashes.read()
        self._hashed = bool(expected)
        for number, line in enumerate(self._lines()):
            if expected and [hashlib.sha256(line).hexdigest()] != expected[number : number + 1]:
                break
            try:
                shard = _Shard(**json.loads(line))
                sizes = sizes or {name: _size(self._file(name)) for name in shard.crc}
                fits = all(end <= sizes[name] for name, end in extent.end_with(shard).items())
            except (ValueError, TypeError, KeyError):
                break
            if not fits or not line.endswith(b"\n"):
                break
            extent.add(shard, line)
        self._read = (extent.journal, extent)
        return extent

    def _names(self, extent: _Extent) -> Ids:
        if not extent.shards:
            return Ids.of(())
        return read_lines(self._file(_IDS), extent.end[_IDS], sum(s.images for s in extent.shards))

    def _mapped(self, name: str, rows: int, width: int) -> NDArray[Any]:
        if rows * width == 0:
            return np.zeros((rows, width), _DTYPES[name])
        return np.memmap(self._file(name), _DTYPES[name], "r", shape=(rows, width))


def _columns(predictions: Sequence[Prediction]) -> dict[str, NDArray[Any]]:
    counts = np.asarray([len(p.boxes) for p in predictions], np.int64)
    distributions = np.concatenate([p.distributions for p in predictions])
    embeddings = np.stack([p.embedding for p in predictions])
    scores = [np.zeros(0) if p.boxes.scores is None else p.boxes.scores for p in predictions]
    features = [np.zeros((len(p.boxes), 0)) if p.features is None else p.features for p in predictions]
    columns: dict[str, NDArray[Any]] = {
        "embeddings": np.clip(embeddings, -_MAX_FLOAT16, _MAX_FLOAT16),
        "counts": counts,
        "uncertainty": margin_sum(distributions, np.concatenate([[0], np.cumsum(counts)])),
        "xyxy": np.concatenate([p.boxes.xyxy for p in predictions]),
        "labels": np.concatenate([p.boxes.labels for p in predictions]),
        "scores": np.concatenate(scores),
        "distributions": distributions,
        "features": np.concatenate(features),
    }
    maxima = [p.maxima for p in predictions if p.maxima is not None]
    if len(maxima) == len(predictions):
        columns["maxima"] = np.clip(np.stack(maxima), -_MAX_FLOAT16, _MAX_FLOAT16)
    if masks := [p.masks for p in predictions if p.masks is not None]:
        if len(masks) < len(predictions):
            raise ValueError(f"expected masks of all {len(predictions)} images of a shard, got {len(masks)}")
        columns["masks"] = np.concatenate(masks)
        columns["mask_margins"] = mask_margins(columns["masks"])
    return {name: column.astype(_DTYPES[name]) for name, column in columns.items()}


def _write_at(path: Path, start: int, data: bytes) -> None:
    """Write `data` after the first `start` bytes, in place of the rest, and wait until it is on disk."""
    with path.open("r+b" if path.exists() else "xb") as file:
        file.truncate(start)
        file.seek(start)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
