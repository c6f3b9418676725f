"""State of an embedded server: whether it runs, its address, its log.

The folder may come from another machine, so nothing in it is trusted.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from al_loop.core.files import open_regular, read_regular, write_json
from al_loop.labelling.server import process

#: Servers listen on loopback only.
HOST = "127.0.0.1"
_STATE_FILE = "server.json"
_MAX_STATE_BYTES = 65_536
_MAX_LOG_BYTES = 4_000_000  # of its end


class _State(msgspec.Struct):
    """The recorded process. A pid of 0 or less would mean a group of processes."""

    pid: Annotated[int, Meta(gt=1, lt=2**31)] | None
    port: Annotated[int, Meta(gt=0, lt=65_536)] | None


def read_state(home: Path) -> tuple[int | None, int | None]:
    """Return the recorded pid and port, None where the file is missing or damaged."""
    try:
        state = msgspec.json.decode(read_regular(home / _STATE_FILE, _MAX_STATE_BYTES), type=_State)
    except (OSError, ValueError, msgspec.MsgspecError, RecursionError):
        return None, None
    return state.pid, state.port


def write_state(home: Path, pid: int | None, port: int | None) -> None:
    """Record pid and port."""
    state = {"pid": pid, "port": port, "changed": datetime.now(UTC).isoformat(timespec="seconds")}
    write_json(home / _STATE_FILE, state)


def last_lines(log: Path, count: int) -> list[str]:
    """Return the last lines of a log; empty where there is none."""
    try:
        with open_regular(log) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _MAX_LOG_BYTES))
            text = file.read(_MAX_LOG_BYTES)
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
    try:
        return bool(get(f"{server_url(port)}/health", timeout_s=5.0)["status"] == "UP")
    except (ValueError, LookupError, TypeError, RecursionError):
        return False


def get(url: str, *, timeout_s: float, token: str = "") -> Any:
    """Return the JSON at an address of a server on this machine; ValueError if there is none.

    Without the SDK: its import alone takes longer than a server needs to answer.
    """
    import httpx

    from al_loop.labelling.client.http import BoundedClient

    headers = {"Authorization": f"Token {token}"} if token else {}
    try:
        with BoundedClient(timeout=timeout_s, trust_env=False, verify=False) as http:  # of http:// alone
            return http.get(url, headers=headers).raise_for_status().json()
    except httpx.HTTPError as error:
        raise ValueError(str(error)) from None


def command_marker(home: Path) -> str:
    """Return the part of the command line that only the server of `home` has."""
    return f"--data-dir {home / 'data'} "


def is_ours(pid: int, home: Path) -> bool:
    """Whether the process is the server of `home`."""
    return process.is_alive(pid, command_marker(home))


def server_url(port: int) -> str:
    """Return the address of a server on this machine."""
    return f"http://{HOST}:{port}"
