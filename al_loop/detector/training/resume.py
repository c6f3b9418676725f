"""Checkpoints that a training resumes from after a kill."""

from __future__ import annotations

from pathlib import Path

from al_loop.core.errors import ModelError
from al_loop.detector.checkpoint import read_weights


def find_checkpoint(folder: Path) -> bool:
    """Name the newest complete checkpoint in the file that the Runner reads; return whether there is one.

    Deletes checkpoints that a kill has cut off.
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
    """Delete the checkpoints of a finished training; logs and COCO files stay."""
    for path in [*folder.glob("*.pth"), folder / "last_checkpoint"]:
        path.unlink(missing_ok=True)
