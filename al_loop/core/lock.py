"""One process at a time works in a workspace; a second is told who does."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO

from al_loop.core.errors import LockedError, WorkspaceError

# torch's decoding processes look after their parent every 5 s.
_ORPHANS_S = 12.0


# As file systems say that they have no locks: NFS without a lock service, FUSE and some network shares.
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


def take(file: IO[str], path: Path, *, wait: bool) -> None:
    """Lock an open file for this process alone; the operating system frees it when the process ends.

    Raises BlockingIOError where another process has it, unless told to wait; WorkspaceError where the file system of `path`
    has no locks.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        raise WorkspaceError(
            f"the file system of {path} has no locks ({error.strerror}): two commands at once would damage what lies there. "
            f"Move {path.parent} to a local disk, or mount the share with its locks on, and run again"
        ) from None


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file at `path`; LockedError says who holds it.

    The operating system releases it when the process ends, however it ends: no stale locks. Processes
    that a killed holder left behind (they decode images) hold it until they notice: waited for.
    """
    with path.open("a+") as file:
        deadline = time.monotonic() + _ORPHANS_S
        while True:
            try:
                take(file, path, wait=False)
                break
            except BlockingIOError:
                file.seek(0)
                text = file.read()
                if not _holder_is_gone(text) or time.monotonic() > deadline:
                    raise LockedError(_held_by(text, path)) from None
                time.sleep(0.2)
        file.truncate(0)
        json.dump(
            {
                "pid": os.getpid(),
                "host": socket.gethostname(),
                "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
                "since": datetime.now().astimezone().isoformat(timespec="seconds"),
            },
            file,
        )
        file.flush()
        yield


def _holder_is_gone(text: str) -> bool:
    """Say whether the process named in the lock file has ended, as far as this machine can tell."""
    try:
        holder = json.loads(text)
        if holder["host"] == socket.gethostname():
            os.kill(int(holder["pid"]), 0)
    except ProcessLookupError:
        return True
    except (ValueError, KeyError, PermissionError):
        return False
    return False


def _held_by(text: str, path: Path) -> str:
    try:
        holder = json.loads(text)
        who = f"`{holder['command']}` (process {holder['pid']} on {holder['host']}, since {holder['since']})"
    except (ValueError, KeyError):
        who = "another process"
    return f"the workspace {path.parent} is in use by {who}. Wait for it, or look at it with: al-loop status"
