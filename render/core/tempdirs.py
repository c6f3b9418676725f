"""Temporary folders of a process: in memory if there is space, removed after a kill."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from render.core.errors import WorkerError

if TYPE_CHECKING:
    from filelock import BaseFileLock

_PREFIX = "al-loop-"
#: What such folders are for.
KINDS = ("scratch", "meshes", "reproduce", "preview", "inbox", "shift", "weights", "check")
_MEMORY = Path("/dev/shm")
#: Bytes that must be free in memory; a container often has 64 MB, a large picture's passes take 1 GB.
_ROOM = 2**30


class Scratch:
    """An empty folder until `close`. The folder of a killed process is removed when the next one is made.

    A locked file beside the folder shows that its owner lives: the lock ends with the process, while a
        process id may be reused.
    """

    def __init__(self, kind: str = "scratch", *, memory: bool = True) -> None:
        """Make it, and sweep.

        kind: part of its name.  memory: in memory, where there is room.
        """
        base = _base() if memory else Path(tempfile.gettempdir())
        for folder in _abandoned_in(base):
            sweep(folder)
        self.folder = base / f"{_PREFIX}{kind}-{uuid.uuid4().hex[:12]}"
        try:
            self._lock = _acquired(self.folder)
        except OSError as error:
            raise WorkerError(
                f"the temporary folder {base} has no locks ({error.strerror}): "
                "set TMPDIR to a folder on a local disk"
            ) from None
        self.folder.mkdir(mode=0o700)

    def close(self) -> None:
        """Remove it; may be called again."""
        if self._lock.is_locked:
            _remove(self.folder, self._lock)


@contextlib.contextmanager
def scratch_folder(kind: str) -> Iterator[Path]:
    """Yield an empty folder on the disk, removed after the block, or later if the process was killed."""
    with contextlib.closing(Scratch(kind, memory=False)) as scratch:
        yield scratch.folder


def abandoned() -> list[Path]:
    """Return the folders that killed processes of this user left behind; none that a living process holds."""
    bases = dict.fromkeys((_MEMORY, Path(tempfile.gettempdir())))
    return [folder for base in bases for folder in _abandoned_in(base)]


def sweep(folder: Path) -> None:
    """Remove a folder of `abandoned`, unless somebody holds it now."""
    with contextlib.suppress(OSError):
        _remove(folder, _acquired(folder))


def _abandoned_in(base: Path) -> Iterator[Path]:
    for lock in (lock for kind in KINDS for lock in base.glob(f"{_PREFIX}{kind}-*.lock")):
        with contextlib.suppress(OSError):  # a TimeoutError if its owner lives
            if lock.lstat().st_uid == os.geteuid():
                _acquired(lock.with_suffix("")).release()
                yield lock.with_suffix("")


def _base() -> Path:
    with contextlib.suppress(OSError):
        if os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ROOM:
            return _MEMORY
    return Path(tempfile.gettempdir())


def _acquired(folder: Path) -> BaseFileLock:
    """The lock of a folder; OSError if another process has it, or there are no locks."""
    from filelock import FileLock  # takes 20 ms, and most commands need no folder

    lock = FileLock(folder.with_name(f"{folder.name}.lock"), timeout=0, thread_local=False)
    lock.acquire()
    return lock


def _remove(folder: Path, lock: BaseFileLock) -> None:
    """The folder first: without its lock nobody would know it for rubbish."""
    shutil.rmtree(folder, ignore_errors=True)
    Path(lock.lock_file).unlink(missing_ok=True)
    lock.release()
