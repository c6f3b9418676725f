"""What an embedded server leaves in its folder: where it runs, and its log. Read as anybody's: a folder may come from elsewhere."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

from al_loop.core.files import open_regular, read_regular

_STATE_FILE = "server.json"
_MOST_STATE_BYTES = 65_536
_MOST_LOG_BYTES = 4_000_000  # of its end


def read_state(home: Path) -> tuple[int | None, int | None]:
    """Return pid and port as last written; a missing or damaged file means no server."""
    try:
        state = json.loads(read_regular(home / _STATE_FILE, _MOST_STATE_BYTES))
        pid, port = state["pid"], state["port"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None, None
    # A pid of 0 or less would mean a group of processes.
    pid = pid if type(pid) is int and 1 < pid < 2**31 else None
    return pid, port if type(port) is int and 0 < port < 65_536 else None


def write_state(home: Path, pid: int | None, port: int | None) -> None:
    """Note where the server runs."""
    state = {"pid": pid, "port": port, "changed": datetime.now(UTC).isoformat(timespec="seconds")}
    partial = home / f"{_STATE_FILE}.partial"
    partial.write_text(json.dumps(state, indent=2))
    partial.replace(home / _STATE_FILE)


def last_lines(log: Path, count: int) -> list[str]:
    """Return the end of a log, however long it is; nothing where there is none."""
    try:
        with open_regular(log) as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - _MOST_LOG_BYTES))
            text = file.read(_MOST_LOG_BYTES)
    except OSError:
        return []
    return text.decode(errors="replace").splitlines()[-count:]
