"""Temporary folders of a process: in memory if there is space, removed after a kill."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

if sys.platform != "win32":  # there, what a killed process leaves is the system's to clean
    import fcntl

from render.core.errors import WorkerError

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
        for lock in _locks(base):
            _sweep(lock)
        self._handle, self._lock = _locked(base, kind)
        self.folder = self._lock.with_suffix("")
        self.folder.mkdir(mode=0o700)

    def close(self) -> None:
        """Remove it; may be called again."""
        if self._handle >= 0:
            _remove(self._lock)
            os.close(self._handle)
            self._handle = -1


@contextlib.contextmanager
def scratch_folder(kind: str) -> Iterator[Path]:
    """Yield an empty folder on the disk, removed after the block, or later if the process was killed."""
    with contextlib.closing(Scratch(kind, memory=False)) as scratch:
        yield scratch.folder


def abandoned() -> list[Path]:
    """Return the folders that killed processes of this user left behind; none that a living process holds."""
    folders = []
    for base in dict.fromkeys((_MEMORY, Path(tempfile.gettempdir()))):
        for lock in _locks(base):
            with _free(lock) as free:
                if free:
                    folders.append(lock.with_suffix(""))
    return folders


def sweep(folder: Path) -> None:
    """Remove a folder of `abandoned`, unless somebody holds it now."""
    _sweep(folder.with_name(f"{folder.name}.lock"))


def _base() -> Path:
    with contextlib.suppress(OSError):
        if os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ROOM:
            return _MEMORY
    return Path(tempfile.gettempdir())


def _locks(base: Path) -> list[Path]:
    if sys.platform == "win32":
        return []
    return [lock for kind in KINDS for lock in base.glob(f"{_PREFIX}{kind}-*.lock")]


def _locked(base: Path, kind: str) -> tuple[int, Path]:
    """A new lock file that is ours: one that a sweep took between the two steps is made again."""
    while True:
        handle, name = tempfile.mkstemp(".lock", f"{_PREFIX}{kind}-", base)
        if _hold(handle) and os.path.exists(name):
            return handle, Path(name)
        os.close(handle)


def _hold(handle: int) -> bool:
    """Take a lock; False if another process has it. WorkerError if the temporary folder has no locks."""
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise WorkerError(
            f"the temporary folder {_base()} has no locks ({error.strerror}): "
            "set TMPDIR to a folder on a local disk"
        ) from None
    return True


@contextlib.contextmanager
def _free(lock: Path) -> Iterator[bool]:
    """Say whether a lock file of ours is free, and hold it meanwhile; those of other users are not free."""
    try:
        handle = os.open(lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        yield False
        return
    try:
        yield os.fstat(handle).st_uid == os.geteuid() and _hold(handle)
    finally:
        os.close(handle)


def _sweep(lock: Path) -> None:
    """Remove a folder, and its lock, that nobody holds any more."""
    with _free(lock) as free:
        if free:
            _remove(lock)


def _remove(lock: Path) -> None:
    """The folder first: without its lock nobody would know it for rubbish."""
    shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
    with contextlib.suppress(OSError):
        lock.unlink()
