"""One process at a time works in a workspace; a second is told who does."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from al_loop.errors import LockedError


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file at `path`; LockedError says who holds it.

    The operating system releases it when the process ends, however it ends: no stale locks.
    """
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise LockedError(_held_by(file.read(), path)) from None
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


def _held_by(text: str, path: Path) -> str:
    try:
        holder = json.loads(text)
        who = f"`{holder['command']}` (process {holder['pid']} on {holder['host']}, since {holder['since']})"
    except (ValueError, KeyError):
        who = "another process"
    return f"the workspace {path.parent} is in use by {who}. Wait for it, or look at it with: al-loop status"
