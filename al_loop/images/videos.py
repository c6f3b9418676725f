"""Frames of videos, as photographs for the pool."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from al_loop.core.errors import DataError
from al_loop.images.ingest import IngestBatch, IngestReport, prepare_bytes
from al_loop.images.near_duplicates import fingerprint
from al_loop.images.sources import VIDEOS, FileStat
from al_loop.state.workspace import Workspace
from al_loop.structures.fingerprints import NEAR, different_bits

#: Frames that are stored together: a kill loses at most these.
_BATCH = 32
#: A video whose last readable frame lies before this share of its frames is damaged.
_COMPLETE = 0.98
_QUALITY = 95  # of the JPEG of a frame


@dataclass(frozen=True)
class FrameRule:
    """Which frames of a video are taken.

    every_s: one in so many seconds. None: each that differs from all that were taken of the video, by more
        than near-duplicates do.
    """

    every_s: float | None = None

    def __str__(self) -> str:
        """Return a name under which a video is known."""
        return "changed" if self.every_s is None else f"every={self.every_s:g}s"


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame. seconds: from the start of the video. data: JPEG."""

    seconds: float
    data: bytes


def is_video(path: str) -> bool:
    """Whether a file has the suffix of a video."""
    return path.lower().endswith(VIDEOS)


def frames(path: str, rule: FrameRule) -> Iterator[Frame]:
    """Yield the frames of a video that a rule takes.

    Raises DataError for a file without readable frames, and at the end of a damaged one, after its frames.
    """
    # Imported here, as it is slow: most commands need no videos.
    import cv2

    # OpenCV and FFmpeg would print what is raised as an error.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    cv2.setLogLevel(0)
    capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG)
    try:
        if not capture.isOpened():
            raise DataError("cannot be read as a video: unknown format or codec, or damaged")
        expected = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        taken, number, due = np.zeros(0, np.uint64), 0, 0.0
        while capture.grab():
            seconds = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            number += 1
            if rule.every_s is not None:
                if seconds + 1e-6 < due:
                    continue
                due = (seconds // rule.every_s + 1) * rule.every_s
            found, picture = capture.retrieve()
            if not found:
                continue
            image = Image.fromarray(np.ascontiguousarray(picture[..., ::-1]))
            if rule.every_s is None:
                bits = np.array([fingerprint(image)], np.int64).view(np.uint64)
                if (different_bits(taken, bits[0]) <= NEAR).any():
                    continue
                taken = np.concatenate([taken, bits])
            buffer = io.BytesIO()
            image.save(buffer, "JPEG", quality=_QUALITY, subsampling=0)
            yield Frame(seconds, buffer.getvalue())
    finally:
        capture.release()
    if not number:
        raise DataError("has no frame that can be read")
    if number < _COMPLETE * expected - 1:
        raise DataError(f"is damaged: only {number} of {expected} frames can be read; these are used")


def add_video(workspace: Workspace, file: FileStat, rule: FrameRule) -> Iterator[IngestReport]:
    """Add the frames of a video to the pool. Yield a report for each batch of frames."""
    batch, report = IngestBatch(workspace, "pool"), IngestReport()

    def stored() -> IngestReport:
        batch.sync()
        with workspace.store.transaction():
            batch.insert()
        return report

    try:
        for frame in frames(file.path, rule):
            batch.put(prepare_bytes(frame.data), f"{file.path}#t={frame.seconds:.2f}s", report)
            if report.files == _BATCH:
                yield stored()
                batch, report = IngestBatch(workspace, "pool"), IngestReport()
    except DataError as error:
        report.refused.append((file.name, str(error)))
    yield stored()
