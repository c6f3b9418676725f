"""Lock files: one process at a time works in a folder; the error of a second one names it.

The operating system releases a lock when its process ends, so there are no stale locks.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from al_loop.core.errors import LockedError, WorkspaceError

#: Seconds to wait for children of a killed process: torch's workers check their parent every 5 s.
_ORPHANS_S = 12.0
#: Errors of file systems without locks: NFS without a lock service, FUSE, some network shares.
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file at `path`, and write the holder into it.

    Waits only for children of a killed holder.
    Raises LockedError with the holder, and WorkspaceError if the file system has no locks.
    """
    try:
        lock = _acquire(path, timeout=_ORPHANS_S, cancel_check=lambda: not _holder_has_ended(path))
    except TimeoutError:
        raise LockedError(_held_by(path)) from None
    with lock:
        holder = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            "since": datetime.now().astimezone().isoformat(timespec="seconds"),
        }
        path.write_text(json.dumps(holder))
        yield


@contextmanager
def waiting_lock(path: Path) -> Iterator[None]:
    """Wait for the lock file at `path`, and hold it. Raises WorkspaceError as `locked`."""
    with _acquire(path):
        yield


def command_at_work(path: Path) -> str | None:
    """Return the command that holds a lock file of `locked`, None if it is free; write nothing."""
    try:
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return str(json.load(file)["command"])
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return None


def _acquire(path: Path, **options: Any) -> AbstractContextManager[object]:
    """Acquire a lock file with options of `filelock`; TimeoutError if another process has it."""
    from filelock import FileLock  # takes 20 ms, and most commands lock nothing

    try:
        return FileLock(path, fallback_to_soft=False).acquire(poll_interval=0.2, **options)
    except TimeoutError:
        raise
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        raise WorkspaceError(
            f"the file system of {path} has no locks ({error.strerror}): two commands at once would damage "
            f"the files there. Move {path.parent} to a local disk, or mount the share with its locks on, "
            "and run again"
        ) from None


def _read_holder(path: Path) -> dict[str, Any]:
    """Return the holder that `locked` has written; empty if it cannot be read."""
    try:
        holder = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return holder if isinstance(holder, dict) else {}


def _holder_has_ended(path: Path) -> bool:
    """Whether the process named in a lock file is one of this machine that has ended."""
    holder = _read_holder(path)
    if holder.get("host") != socket.gethostname() or not isinstance(holder.get("pid"), int):
        return False
    try:
        os.kill(holder["pid"], 0)
    except OSError as error:
        return error.errno == errno.ESRCH
    return False


def _held_by(path: Path) -> str:
    holder = _read_holder(path)
    who = "another process"
    if {"command", "pid", "host", "since"} <= holder.keys():
        who = f"`{holder['command']}` (process {holder['pid']} on {holder['host']}, since {holder['since']})"
    return f"the workspace {path.parent} is in use by {who}. Wait for it, or look at it with: al-loop status"
