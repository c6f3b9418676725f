"""Folders for what lives only as long as a process: in memory where there is room, swept up when it was killed."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

if sys.platform != "win32":  # there, what a killed process leaves is the system's to clean
    import fcntl

from render.errors import WorkerError

_PREFIX = "al-loop-scratch-"
_MEMORY = Path("/dev/shm")
#: Bytes that must be free in memory; a container often has 64 MB, a large picture's passes take 1 GB.
_ROOM = 2**30


class Scratch:
    """An empty folder, until `close`. One that a killed process left behind goes when the next is made.

    Whoever holds the lock beside the folder is alive: a lock falls with its process, a process id may be another's.
    """

    def __init__(self) -> None:
        """Make it, and sweep."""
        base = _base()
        _sweep(base)
        self._handle, self._lock = _locked(base)
        self.folder = self._lock.with_suffix("")
        self.folder.mkdir(mode=0o700)

    def close(self) -> None:
        """Remove it; may be called again."""
        if self._handle >= 0:
            _remove(self._lock)
            os.close(self._handle)
            self._handle = -1


def _base() -> Path:
    with contextlib.suppress(OSError):
        if os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ROOM:
            return _MEMORY
    return Path(tempfile.gettempdir())


def _locked(base: Path) -> tuple[int, Path]:
    """A new lock file that is ours: one that a sweep took between the two steps is made again."""
    while True:
        handle, name = tempfile.mkstemp(".lock", _PREFIX, base)
        if _hold(handle) and os.path.exists(name):
            return handle, Path(name)
        os.close(handle)


def _hold(handle: int) -> bool:
    """Take a lock; False where another process has it. WorkerError where the temporary folder has no locks."""
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise WorkerError(
            f"the temporary folder {_base()} has no locks ({error.strerror}): set TMPDIR to a folder on a local disk"
        ) from None
    return True


def _sweep(base: Path) -> None:
    """Remove the folders, and their locks, that nobody holds any more; those of other users stay."""
    if sys.platform == "win32":
        return
    for lock in base.glob(f"{_PREFIX}*.lock"):
        try:
            handle = os.open(lock, os.O_RDWR)
        except OSError:
            continue
        if _hold(handle):
            _remove(lock)
        os.close(handle)


def _remove(lock: Path) -> None:
    """The folder first: without its lock nobody would know it for rubbish."""
    shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
    with contextlib.suppress(OSError):
        lock.unlink()
