"""Checkpoints that a training resumes from after a kill."""

from __future__ import annotations

from pathlib import Path

from al_loop.core.errors import ModelError
from al_loop.detector.checkpoint import read_weights


def find_checkpoint(folder: Path) -> bool:
    """Write the path of the newest complete checkpoint to `last_checkpoint`, which the Runner reads.

    Delete checkpoints that a kill has truncated. Return whether there is a complete one.
    """
    by_epoch = {int(path.stem.removeprefix("epoch_")): path for path in folder.glob("epoch_*.pth")}
    for _, path in sorted(by_epoch.items(), reverse=True):
        try:
            read_weights(path)
        except ModelError:
            path.unlink()
            continue
        (folder / "last_checkpoint").write_text(str(path))
        return True
    (folder / "last_checkpoint").unlink(missing_ok=True)
    return False


def discard_work_files(folder: Path) -> None:
    """Delete the checkpoints of a finished training. Keep logs and COCO files."""
    for path in [*folder.glob("*.pth"), folder / "last_checkpoint"]:
        path.unlink(missing_ok=True)
