"""Checkpoints that a training resumes from after a kill."""

from __future__ import annotations

from pathlib import Path

from al_loop.core.errors import ModelError
from al_loop.detector.checkpoint import read_weights


def find_checkpoint(folder: Path) -> int:
    """Write the path of the newest complete checkpoint to `last_checkpoint`, which the Runner reads.

    Delete checkpoints that a kill has truncated. Return the step of the newest complete one. If there is
    none, return 0 and delete all other weights.
    """
    by_step = {int(path.stem.removeprefix("iter_")): path for path in folder.glob("iter_*.pth")}
    for step, path in sorted(by_step.items(), reverse=True):
        try:
            read_weights(path)
        except ModelError:
            path.unlink()
            continue
        (folder / "last_checkpoint").write_text(str(path))
        return step
    discard_work_files(folder)
    return 0


def discard_work_files(folder: Path) -> None:
    """Delete all weights of a training. Keep logs and COCO files."""
    for path in [*folder.glob("*.pth"), folder / "last_checkpoint"]:
        path.unlink(missing_ok=True)
