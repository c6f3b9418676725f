"""Start, stop and find the embedded Label Studio server of a workspace.

    <workspace>/label-studio/
        data/             data of the server: database, secret key, uploads
        media/            the only folder whose files the server may show
        server.json       port and pid; no secrets
        backups/          written before another version of the server starts
        credentials.json  e-mail, password, token; readable by the owner only (0600)
        server.log

The server listens only on 127.0.0.1 and gets its secrets through environment variables. It runs in its own
session: it outlives the command that started it and does not receive Ctrl-C.
"""

from __future__ import annotations

import re
import shutil
import socket
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from pathlib import Path

from al_loop.core.errors import LabelStudioError
from al_loop.core.lock import waiting_lock
from al_loop.labelling.client.client import Connection
from al_loop.labelling.client.failures import START_COMMAND
from al_loop.labelling.server import process, server_state
from al_loop.labelling.server.credentials import Credentials, ensure_credentials, read_credentials
from al_loop.labelling.server.environment import (
    VERSION,
    Environment,
    Progress,
    clean_environ,
    ensure_environment,
)
from al_loop.labelling.server.moved import record_place, update_storages
from al_loop.labelling.server.server_state import HOST, is_ours

_LAUNCHER = Path(__file__).parent / "launch" / "run_server.py"
_VERSION_FILE = "version"  # in data/: the Label Studio that last ran
_READY_TIMEOUT_S = 180.0
_STOP_TIMEOUT_S = 15.0


@dataclass(frozen=True, kw_only=True)
class ServerInfo(Credentials):
    """A running embedded server and its logins."""

    url: str
    pid: int

    @property
    def connection(self) -> Connection:
        """Connection of the loop to the server."""
        return Connection(self.url, self.token)


def media_root(home: Path) -> Path:
    """Return the folder whose files the server may show. It is not `home`, which contains secrets."""
    return home / "media"


def start(
    home: Path,
    *,
    document_root: Path | None = None,
    port: int | None = None,
    on_progress: Progress | None = None,
) -> ServerInfo:
    """Start the server of `home` unless it is running, and wait until it answers.

    document_root: folder of this machine that the server may show; by default `media_root(home)`.
    port: by default the last port if it is free, otherwise any free port.
    Raises LabelStudioError if the server cannot be started or `port` is in use.
    """
    environment = ensure_environment(on_progress)
    home = home.absolute()
    document_root = (document_root or media_root(home)).absolute()
    if document_root in (home / "data", home, *home.parents):
        raise LabelStudioError(
            f"{document_root} contains secrets of the server in {home}: it may not be shown"
        )
    try:
        home.mkdir(parents=True, exist_ok=True)
        document_root.mkdir(parents=True, exist_ok=True)
        with waiting_lock(home / "lock"):
            return _ensure_running(home, environment, document_root, port)
    except OSError as error:
        raise LabelStudioError(f"cannot set up the Label Studio server in {home}: {error}") from error


def stop(home: Path) -> bool:
    """Stop the server of `home`; return False if it was not running."""
    home = home.absolute()
    if not home.is_dir():
        return False
    with waiting_lock(home / "lock"):
        pid, port = server_state.read_state(home)
        ended = False
        if pid is None or not is_ours(pid, home):
            ended = _end_stale_server(pid, port)
            pid = process.find(server_state.command_marker(home))
        if pid is not None:
            _end(pid, server_state.command_marker(home))
            ended = True
        if ended:
            server_state.write_state(home, None, port)
        if pid is not None and port is not None:
            # The system closes the port shortly after the process has ended.
            process.wait_until(partial(_is_free, port), _STOP_TIMEOUT_S)
    return ended


def running_server(home: Path) -> ServerInfo:
    """Return the running server of `home`; raise LabelStudioError if none runs."""
    status = server_state.status(home)
    if not status.answers or status.url is None or status.pid is None:
        raise LabelStudioError(f"the Label Studio server does not run; start it with: {START_COMMAND}")
    return _server_info(home, status.url, status.pid)


def _server_info(home: Path, url: str, pid: int) -> ServerInfo:
    return ServerInfo(**asdict(read_credentials(home)), url=url, pid=pid)


def _ensure_running(
    home: Path, environment: Environment, document_root: Path, wanted_port: int | None
) -> ServerInfo:
    """Start the server unless it is running, and wait until it answers."""
    pid, port = server_state.read_state(home)
    if pid is None or port is None or not is_ours(pid, home):
        _end_stale_server(pid, port)
        # A start that was killed before it recorded the pid may have left a server.
        if (unrecorded := process.find(server_state.command_marker(home))) is not None:
            _end(unrecorded, server_state.command_marker(home))
        credentials = _prepare(home, environment, document_root)
        port = _choose_port(wanted_port, port)
        pid = _spawn(home, environment, credentials, document_root, port)
        server_state.write_state(home, pid, port)
        if wanted_port is None and _has_lost_port(home, pid, port):
            _end(pid, server_state.command_marker(home))
            port = _choose_port(None, None)
            pid = _spawn(home, environment, credentials, document_root, port)
            server_state.write_state(home, pid, port)
    info = _server_info(home, server_state.server_url(port), pid)
    _wait_until_ready(home, info, port)
    (home / "data" / "unfinished").unlink(missing_ok=True)
    update_storages(home / "data", info.connection, document_root)
    return info


def _has_lost_port(home: Path, pid: int, port: int) -> bool:
    """Wait until a server listens. Return whether another program took the port just before it.

    Label Studio then listens on the next port.
    """

    def listens_or_ended() -> bool:
        ports = process.listening_ports(pid)
        return bool(ports) or server_state.is_healthy(port) or not is_ours(pid, home)

    process.wait_until(listens_or_ended, _READY_TIMEOUT_S, 0.2)
    ports = process.listening_ports(pid)
    return bool(ports) and port not in ports


def _end_stale_server(pid: int | None, port: int | None) -> bool:
    """End a server that was started before this folder was moved; return whether there was one.

    If the old folder still exists, the server belongs to it, and this folder is a copy.
    """
    if pid is None or port is None:
        return False
    command = process.command_line(pid)
    started = re.search(rf"(--data-dir (.+) )--internal-host {HOST} --port {port} ", command)
    if started is None or Path(started[2]).exists():
        return False
    _end(pid, started[1])
    return True


def _end(pid: int, marker: str) -> None:
    if not process.end(pid, marker, _STOP_TIMEOUT_S):
        raise LabelStudioError(f"the Label Studio server (process {pid}) does not end: kill it by hand")


def _prepare(home: Path, environment: Environment, document_root: Path) -> Credentials:
    """Create the data directory from the template, and the logins, if they are missing."""
    data = home / "data"
    # The first start creates user and token in several steps. If it was killed, it starts again.
    if not data.exists() or (data / "unfinished").exists():
        draft = home / "data.partial"
        for leftover in (draft, data):
            if leftover.exists():
                shutil.rmtree(leftover)
        shutil.copytree(environment.template, draft)
        draft.chmod(0o700)
        (draft / "unfinished").touch()
        (draft / _VERSION_FILE).write_text(VERSION)
        record_place(draft, document_root)
        draft.rename(data)
        ensure_credentials(home)
    _back_up_before_upgrade(home)
    return read_credentials(home)


def _back_up_before_upgrade(home: Path) -> None:
    """Write a backup before another version of the server starts and migrates the database."""
    from al_loop.labelling.server.backup import back_up

    file = home / "data" / _VERSION_FILE
    before = file.read_text().strip() if file.is_file() else None
    if before is not None and before != VERSION:
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        back_up(home, home / "backups" / f"{before}-before-{VERSION}-{moment}.tar.gz", before)
    file.write_text(VERSION)


def _choose_port(wanted: int | None, last: int | None) -> int:
    if wanted is not None:
        if not _is_free(wanted):
            raise LabelStudioError(f"port {wanted} on {HOST} is in use: choose another, or leave it out")
        return wanted
    if last is not None and _is_free(last):
        return last
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # the server sets it, too
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _spawn(
    home: Path, environment: Environment, credentials: Credentials, document_root: Path, port: int
) -> int:
    """Start the server as a detached process and return its pid."""
    data = home / "data"
    environ = clean_environ(data) | {
        # A hash of the token: it stays the same if the workspace is moved, and reveals nothing.
        "AL_LOOP_COOKIES": sha256(f"cookies {credentials.token}".encode()).hexdigest()[:8],
        "LABEL_STUDIO_HOST": server_state.server_url(port),
        "LABEL_STUDIO_USERNAME": credentials.email,
        "LABEL_STUDIO_PASSWORD": credentials.password,
        "LABEL_STUDIO_USER_TOKEN": credentials.token,
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(document_root),
    }
    command = [
        str(environment.python), str(_LAUNCHER), "start", "--no-browser",
        "--data-dir", str(data), "--internal-host", HOST, "--port", str(port),
    ]  # fmt: skip
    return process.spawn(command, environ, home / "server.log")


def _wait_until_ready(home: Path, info: ServerInfo, port: int) -> None:
    """Wait until the server answers and accepts the token; raise LabelStudioError otherwise."""
    log = home / "server.log"

    def failed(reason: str) -> LabelStudioError:
        return LabelStudioError(
            "\n".join([f"{reason}; the end of {log}:", *server_state.last_lines(log, 15)])
        )

    def answers_or_ended() -> bool:
        return server_state.is_healthy(port) or not is_ours(info.pid, home)

    if not process.wait_until(answers_or_ended, _READY_TIMEOUT_S, 0.2):
        raise failed(f"no answer from {info.url} in {_READY_TIMEOUT_S:.0f} s")
    if not is_ours(info.pid, home):
        raise failed("the Label Studio server ended while starting")
    try:
        server_state.get(f"{info.url}/api/current-user/whoami", timeout_s=60.0, token=info.token)
    except ValueError:
        raise failed(
            f"the server at {info.url} does not know the token in {home / 'credentials.json'}: the file was "
            "changed, or another program took the port. Restore the file from a backup, or stop and start "
            "the server"
        ) from None
