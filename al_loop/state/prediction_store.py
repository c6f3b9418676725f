"""Predictions on disk: columns that are appended to, and a journal of complete writes.

Columns are raw NumPy arrays. They are mapped into memory, so that a selection among a million images reads only
the rows it needs. They can be appended to, need no dependency, and are read without executing anything. Parquet
would be smaller, and must be decoded first.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from al_loop.core.errors import WorkspaceError
from al_loop.state.id_list import read_lines
from al_loop.structures.images import ImageFile, Prediction
from al_loop.structures.predictions import ScoredImages
from strategies import Ids, margin_sum

JOURNAL = "journal.jsonl"
_IDS = "image_ids.txt"
#: One row per image. Embeddings, the largest column, are in half precision: they are only compared.
_OF_IMAGES = {"embeddings": np.float16, "counts": np.int32, "uncertainty": np.float64}
#: One row per box.
_OF_BOXES = {
    "xyxy": np.float32,
    "labels": np.int32,
    "scores": np.float32,
    "distributions": np.float32,
    "features": np.float16,
}
_LARGEST_HALF = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class _Shard:
    """A line of the journal: the rows that were written together, and the CRC-32 of their bytes by column."""

    images: int
    boxes: int
    ids_bytes: int
    crc: dict[str, int]
    widths: dict[str, int]  # numbers in a row

    def bytes_of(self, name: str) -> int:
        if name == _IDS:
            return self.ids_bytes
        rows, kind = (self.images, _OF_IMAGES) if name in _OF_IMAGES else (self.boxes, _OF_BOXES)
        return rows * self.widths[name] * np.dtype(kind[name]).itemsize


@dataclass
class _Whole:
    """The complete shards of the journal.

    end: bytes of each column.
    journal: bytes of the journal.
    """

    shards: list[_Shard] = field(default_factory=list)
    end: dict[str, int] = field(default_factory=dict)
    journal: int = 0

    def add(self, shard: _Shard, line: bytes) -> None:
        self.shards.append(shard)
        self.end = {name: self.end.get(name, 0) + shard.bytes_of(name) for name in shard.crc}
        self.journal += len(line)


class Ledger(Protocol):
    """Keeps hashes of the lines of a journal outside its folder."""

    def noted(self) -> list[str]:
        """Return the SHA-256 of each line, in order; empty if none was noted."""

    def note(self, first: int, lines: Sequence[bytes]) -> None:
        """Note lines from number `first` on, and forget the later ones."""


class ShardStore:
    """A folder of columns to which shards are appended.

    A shard is complete once its line is in the journal. What a kill leaves behind it is overwritten. A column that
    is shorter or missing invalidates the shards it held, and so does a line whose hash is not in the ledger.
    """

    def __init__(self, folder: Path, ledger: Ledger | None = None) -> None:
        self.folder, self._ledger = folder, ledger
        self._read: tuple[int, _Whole] | None = None  # for a journal of so many bytes
        self._vouched = False  # whether the ledger knows a line

    def image_ids(self) -> Ids:
        """Return the scored images, mapped."""
        return self._names(self._whole())

    def missing(self, images: Sequence[ImageFile]) -> list[ImageFile]:
        """Return those of the images that have not been scored."""
        scored = self.image_ids().places(Ids.of(image.id for image in images)) >= 0
        return [image for image, known in zip(images, scored.tolist(), strict=True) if not known]

    def append(self, predictions: Sequence[Prediction]) -> None:
        """Add one more shard.

        Raises WorkspaceError where it has other widths or cannot be written; earlier shards stay as they were.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        whole = self._whole()
        columns = _columns(predictions)
        names = "".join(f"{p.image_id}\n" for p in predictions).encode()
        written = {_IDS: names, **{name: column.tobytes() for name, column in columns.items()}}
        shard = _Shard(
            len(predictions),
            len(columns["labels"]),
            len(names),
            {name: zlib.crc32(data) for name, data in written.items()},
            {name: int(np.prod(column.shape[1:])) for name, column in columns.items()},
        )
        if whole.shards and whole.shards[0].widths != shard.widths:
            raise WorkspaceError(
                f"{self.folder} has rows of {whole.shards[0].widths} numbers, these are of {shard.widths}: "
                "of another model. Delete it and run again: al-loop cycle"
            )
        line = json.dumps(vars(shard), sort_keys=True).encode() + b"\n"
        try:
            for name, data in written.items():
                _write_at(self._file(name), whole.end.get(name, 0), data)
            _write_at(self.folder / JOURNAL, whole.journal, line)
        except OSError as error:
            raise WorkspaceError(
                f"scores cannot be written to {self.folder} ({error.strerror}); earlier scores are kept. "
                "Make room, delete what is not needed (al-loop gc), and run the same again"
            ) from error
        if self._ledger is not None:
            if whole.shards and not self._vouched:  # by an al-loop that noted none
                self._ledger.note(0, self._lines())
            else:
                self._ledger.note(len(whole.shards), [line])
            self._vouched = True
        whole.add(shard, line)
        self._read = (whole.journal, whole)

    def load(self, wanted: Iterable[str] | None = None) -> ScoredImages:
        """Map all columns, or those of the wanted images that were scored; WorkspaceError without any scores."""
        whole = self._whole()
        if not whole.shards:
            if self._lines():
                raise WorkspaceError(
                    f"the scores in {self.folder} are damaged. What is lost is made anew: al-loop cycle"
                )
            raise WorkspaceError(f"no scores in {self.folder}: expected columns there. Run: al-loop cycle")
        names, widths = self._names(whole), whole.shards[0].widths
        rows = dict.fromkeys(_OF_IMAGES, sum(s.images for s in whole.shards))
        rows |= dict.fromkeys(_OF_BOXES, sum(s.boxes for s in whole.shards))
        columns = {name: self._mapped(name, rows[name], widths[name]) for name in rows}
        found = ScoredImages(
            image_ids=names,
            offsets=np.concatenate([[0], np.cumsum(columns.pop("counts")[:, 0], dtype=np.int64)]),
            **{name: columns.pop(name)[:, 0] for name in ("uncertainty", "labels", "scores")},
            **columns,
        )
        if wanted is None:
            return found
        return found.intersection(wanted if isinstance(wanted, Ids) else dict.fromkeys(wanted))

    def forget_damaged(self) -> int:
        """Read every byte; forget the first damaged shard and those after it.

        Returns how many images must be scored again.
        """
        good, lost = self._good()
        if lost:
            _write_at(self.folder / JOURNAL, good.journal, b"")
            self._read = None
        if self._ledger is not None and (lost or (good.shards and not self._vouched)):
            self._ledger.note(0, self._lines()[: len(good.shards)])
        return lost

    def damaged(self) -> int:
        """Read every byte and change nothing; return the number of damaged shards and shards after one."""
        noted = [] if self._ledger is None else self._ledger.noted()
        written = max(len(noted), sum(1 for line in self._lines() if line.endswith(b"\n")))
        return written - len(self._good()[0].shards)

    def _good(self) -> tuple[_Whole, int]:
        """Return the shards before the first damaged one, and the number of images in the others."""
        shards, good = self._whole().shards, _Whole()
        for number, (shard, line) in enumerate(zip(shards, self._lines(), strict=False)):
            for name, crc in shard.crc.items():
                with self._file(name).open("rb") as file:
                    file.seek(good.end.get(name, 0))
                    if zlib.crc32(file.read(shard.bytes_of(name))) != crc:
                        return good, sum(s.images for s in shards[number:])
            good.add(shard, line)
        return good, 0

    def extent(self) -> dict[Path, int]:
        """Return the files of all columns and their bytes of complete shards; the files may be longer."""
        return {self._file(name): end for name, end in self._whole().end.items()}

    def _file(self, name: str) -> Path:
        return self.folder / (name if name == _IDS else f"{name}.bin")

    def _lines(self) -> list[bytes]:
        """Return the lines of the journal."""
        try:
            return (self.folder / JOURNAL).read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return []

    def _whole(self) -> _Whole:
        """Return the shards that are complete by the sizes of the files."""
        if self._read is not None and self._read[0] == _size(self.folder / JOURNAL):
            return self._read[1]
        whole, there = _Whole(), dict[str, int]()
        noted = [] if self._ledger is None else self._ledger.noted()
        self._vouched = bool(noted)
        for number, line in enumerate(self._lines()):
            if noted and (number >= len(noted) or hashlib.sha256(line).hexdigest() != noted[number]):
                break
            try:
                shard = _Shard(**json.loads(line))
                there = there or {name: _size(self._file(name)) for name in shard.crc}
                reached = {name: whole.end.get(name, 0) + shard.bytes_of(name) for name in shard.crc}
            except (ValueError, TypeError, KeyError):
                break
            if not line.endswith(b"\n") or any(end > there[name] for name, end in reached.items()):
                break
            whole.add(shard, line)
        self._read = (whole.journal, whole)
        return whole

    def _names(self, whole: _Whole) -> Ids:
        if not whole.shards:
            return Ids.of(())
        return read_lines(self._file(_IDS), whole.end[_IDS], sum(s.images for s in whole.shards))

    def _mapped(self, name: str, rows: int, width: int) -> NDArray[Any]:
        kind = (_OF_IMAGES | _OF_BOXES)[name]
        if rows * width == 0:
            return np.zeros((rows, width), kind)
        return np.memmap(self._file(name), kind, "r", shape=(rows, width))


def _columns(predictions: Sequence[Prediction]) -> dict[str, NDArray[Any]]:
    counts = np.asarray([len(p.boxes) for p in predictions], np.int64)
    distributions = np.concatenate([p.distributions for p in predictions])
    offsets = np.concatenate([[0], np.cumsum(counts)])
    half = np.clip(np.stack([p.embedding for p in predictions]), -_LARGEST_HALF, _LARGEST_HALF)
    made: dict[str, NDArray[Any]] = {
        "embeddings": half,
        "counts": counts,
        "uncertainty": margin_sum(distributions, offsets),
        "xyxy": np.concatenate([p.boxes.xyxy for p in predictions]),
        "labels": np.concatenate([p.boxes.labels for p in predictions]),
        "scores": np.concatenate(
            [np.zeros(0) if p.boxes.scores is None else p.boxes.scores for p in predictions]
        ),
        "distributions": distributions,
        "features": np.concatenate(
            [np.zeros((len(p.boxes), 0)) if p.features is None else p.features for p in predictions]
        ),
    }
    return {name: made[name].astype(kind) for name, kind in (_OF_IMAGES | _OF_BOXES).items()}


def _write_at(path: Path, start: int, data: bytes) -> None:
    """Write after the first `start` bytes, replace what follows, and wait until it is on the disk."""
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
