"""State of an embedded server: whether it is running, its address, its log.

The folder may come from another machine: its content is not trusted.
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

#: Embedded servers listen only on the loopback interface.
HOST = "127.0.0.1"
_STATE_FILE = "server.json"
_MAX_STATE_BYTES = 65_536
_MAX_LOG_BYTES = 4_000_000  # the end of the log


class _State(msgspec.Struct):
    """The recorded process. A pid of 0 or less is refused: signals to it would reach a process group."""

    pid: Annotated[int, Meta(gt=1, lt=2**31)] | None
    port: Annotated[int, Meta(gt=0, lt=65_536)] | None


def read_state(home: Path) -> tuple[int | None, int | None]:
    """Return the recorded pid and port; None for both if the file is missing or damaged."""
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
    """Return the last lines of a log; an empty list if there is no log."""
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
    """Return the JSON at an address of a server on this machine; raise ValueError if there is none.

    The SDK is not used: its import takes longer than the answer of a server.
    """
    import httpx

    from al_loop.labelling.client.http import BoundedClient

    headers = {"Authorization": f"Token {token}"} if token else {}
    try:
        # The address is always http://, so no certificates are loaded.
        with BoundedClient(timeout=timeout_s, trust_env=False, verify=False) as http:
            return http.get(url, headers=headers).raise_for_status().json()
    except httpx.HTTPError as error:
        raise ValueError(str(error)) from None


def command_marker(home: Path) -> str:
    """Return the part of the command line that identifies the server of `home`."""
    return f"--data-dir {home / 'data'} "


def is_ours(pid: int, home: Path) -> bool:
    """Whether the process is the server of `home`."""
    return process.is_alive(pid, command_marker(home))


def server_url(port: int) -> str:
    """Return the address of a server on this machine."""
    return f"http://{HOST}:{port}"
