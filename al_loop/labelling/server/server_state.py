"""State of an embedded server: whether it runs, its address, its log.

The folder may come from another machine, so nothing in it is trusted.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from al_loop.core.files import open_regular, read_regular, write_json
from al_loop.labelling.server import process

#: Servers listen on loopback only.
HOST = "127.0.0.1"
_STATE_FILE = "server.json"
_MOST_STATE_BYTES = 65_536
_MOST_LOG_BYTES = 4_000_000  # of its end


def read_state(home: Path) -> tuple[int | None, int | None]:
    """Return the recorded pid and port, None where the file is missing or damaged."""
    try:
        state = json.loads(read_regular(home / _STATE_FILE, _MOST_STATE_BYTES))
        pid, port = state["pid"], state["port"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None, None
    # A pid of 0 or less would mean a group of processes.
    pid = pid if type(pid) is int and 1 < pid < 2**31 else None
    return pid, port if type(port) is int and 0 < port < 65_536 else None


def write_state(home: Path, pid: int | None, port: int | None) -> None:
    """Record pid and port."""
    state = {"pid": pid, "port": port, "changed": datetime.now(UTC).isoformat(timespec="seconds")}
    write_json(home / _STATE_FILE, state)


def last_lines(log: Path, count: int) -> list[str]:
    """Return the last lines of a log; empty where there is none."""
    try:
        with open_regular(log) as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - _MOST_LOG_BYTES))
            text = file.read(_MOST_LOG_BYTES)
    except OSError:
        return []
    return text.decode(errors="replace").splitlines()[-count:]


@dataclass(frozen=True)
class ServerStatus:
    """Status of an embedded server; `answers` is False while it starts or hangs."""

    running: bool
    answers: bool
    url: str | None
    pid: int | None
    log: Path


def status(home: Path) -> ServerStatus:
    """Return the status of the server of `home`."""
    home = home.absolute()
    log = home / "server.log"
    pid, port = read_state(home)
    if pid is None or port is None or not is_ours(pid, home):
        return ServerStatus(False, False, None, None, log)
    return ServerStatus(True, is_healthy(port), server_url(port), pid, log)


def is_healthy(port: int) -> bool:
    """Whether a Label Studio server answers on the port."""
    import httpx

    from al_loop.labelling.client.http import BoundedClient

    try:
        with BoundedClient(timeout=5.0, trust_env=False, verify=False) as http:  # of http:// alone
            answer = http.get(f"{server_url(port)}/health")
        return answer.status_code == 200 and answer.json().get("status") == "UP"
    except (httpx.HTTPError, ValueError, AttributeError, RecursionError):
        return False


def command_marker(home: Path) -> str:
    """Return the part of the command line that only the server of `home` has."""
    return f"--data-dir {home / 'data'} "


def is_ours(pid: int, home: Path) -> bool:
    """Whether the process is the server of `home`."""
    return process.is_alive(pid, command_marker(home))


def server_url(port: int) -> str:
    """Return the address of a server on this machine."""
    return f"http://{HOST}:{port}"
