"""Start, stop and find the embedded Label Studio server of a workspace.

    <workspace>/label-studio/
        data/             the server's own: database, secret key, uploads
        media/            the only folder whose files the server may show
        server.json       port, pid; no secrets
        backups/          made before another version of the server is started
        credentials.json  e-mail, password, token; only the owner may read it (0600)
        server.log

The server listens on 127.0.0.1 only, gets its secrets through its environment, and runs in a session
of its own: it outlives the command that started it, and Ctrl-C does not reach it.
"""

from __future__ import annotations

import re
import shutil
import socket
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from al_loop.core.errors import LabelStudioError
from al_loop.core.lock import waiting_lock
from al_loop.labelling.client.client import START_COMMAND, Connection
from al_loop.labelling.server import process
from al_loop.labelling.server.credentials import Credentials, ensure_credentials, read_credentials
from al_loop.labelling.server.environment import (
    VERSION,
    Environment,
    Progress,
    clean_environ,
    ensure_environment,
)
from al_loop.labelling.server.moved import follow, note_place
from al_loop.labelling.server.server_state import (
    HOST,
    command_marker,
    is_healthy,
    is_ours,
    last_lines,
    read_state,
    server_url,
    status,
    write_state,
)

_LAUNCHER = Path(__file__).parent / "launch" / "run_server.py"
_VERSION_FILE = "version"  # in data/: the Label Studio that it was started with last
_READY_TIMEOUT_S = 180.0
_STOP_TIMEOUT_S = 15.0


@dataclass(frozen=True)
class ServerInfo:
    """A running embedded server."""

    url: str
    email: str
    password: str = field(repr=False)
    token: str = field(repr=False)
    pid: int

    @property
    def connection(self) -> Connection:
        """Connection of the loop to the server."""
        return Connection(self.url, self.token)


def media_root(home: Path) -> Path:
    """Return the folder whose files the server may show; not `home`, which holds secrets."""
    return home / "media"


def start(
    home: Path,
    *,
    document_root: Path | None = None,
    port: int | None = None,
    on_progress: Progress | None = None,
) -> ServerInfo:
    """Start the server of `home`, unless it runs, and wait until it answers.

    document_root: what the server may show of this machine's files; `media_root(home)` when None.
    port: taken when free, else an error; when None the last one if free, else any free one.
    """
    environment = ensure_environment(on_progress)
    home = home.absolute()
    document_root = (document_root or media_root(home)).absolute()
    if document_root in (home / "data", home, *home.parents):
        raise LabelStudioError(f"the server would show its own secrets: {document_root} holds some of {home}")
    try:
        home.mkdir(parents=True, exist_ok=True)
        document_root.mkdir(parents=True, exist_ok=True)
        with waiting_lock(home / "lock"):
            return _ensure_running(home, environment, document_root, port)
    except OSError as error:
        raise LabelStudioError(f"cannot set up the Label Studio server in {home}: {error}") from error


def stop(home: Path) -> bool:
    """Stop the server of `home`; False where none ran."""
    home = home.absolute()
    if not home.is_dir():
        return False
    with waiting_lock(home / "lock"):
        pid, port = read_state(home)
        if pid is None or not is_ours(pid, home):
            left = _end_left_behind(pid, port)
            pid = process.find(command_marker(home))
            if pid is None and left:
                write_state(home, None, port)
                return True
        if pid is None:
            return False
        _end(home, pid)
        write_state(home, None, port)
        if port is not None:
            _wait_until_free(port)
    return True


def running(home: Path) -> ServerInfo:
    """Return the running server of `home`; LabelStudioError with the next command where none runs."""
    state = status(home)
    if not state.answers or state.url is None or state.pid is None:
        raise LabelStudioError(f"the Label Studio server does not run; start it with: {START_COMMAND}")
    logins = read_credentials(home)
    return ServerInfo(state.url, logins.email, logins.password, logins.token, state.pid)


def _ensure_running(
    home: Path, environment: Environment, document_root: Path, wanted_port: int | None
) -> ServerInfo:
    pid, port = read_state(home)
    if pid is None or port is None or not is_ours(pid, home):
        _end_left_behind(pid, port)
        # Left by a start that was killed before it recorded the pid.
        _end(home, process.find(command_marker(home)))
        credentials = _prepare(home, environment, document_root)
        port = _choose_port(wanted_port, port)
        pid = _spawn(home, environment, credentials, document_root, port)
        write_state(home, pid, port)
    credentials = read_credentials(home)
    info = ServerInfo(server_url(port), credentials.email, credentials.password, credentials.token, pid)
    _wait_until_ready(home, info)
    (home / "data" / "unfinished").unlink(missing_ok=True)
    follow(home / "data", info.connection, document_root)
    return info


def _end_left_behind(pid: int | None, port: int | None) -> bool:
    """End a server that was started before this folder was moved.

    A server whose old folder still exists belongs to that folder, and this one is a copy.
    """
    if pid is None or port is None:
        return False
    started = re.search(
        rf"(--data-dir (.+) )--internal-host {HOST} --port {port} ", process.command_line(pid)
    )
    if started is None or Path(started[2]).exists():
        return False
    if not process.end(pid, started[1], _STOP_TIMEOUT_S):
        raise LabelStudioError(f"the Label Studio server (process {pid}) does not end; end it by hand")
    return True


def _end(home: Path, pid: int | None) -> None:
    if pid is not None and not process.end(pid, command_marker(home), _STOP_TIMEOUT_S):
        raise LabelStudioError(f"the Label Studio server (process {pid}) does not end; end it by hand")


def _prepare(home: Path, environment: Environment, document_root: Path) -> Credentials:
    """Create the data directory from the template, and the logins, where they are missing."""
    data = home / "data"
    # The first start creates user and token in steps; one that was killed in between starts over.
    if not data.exists() or (data / "unfinished").exists():
        partial = home / "data.partial"
        for leftover in (partial, data):
            if leftover.exists():
                shutil.rmtree(leftover)
        shutil.copytree(environment.template, partial)
        partial.chmod(0o700)
        (partial / "unfinished").touch()
        (partial / _VERSION_FILE).write_text(VERSION)
        note_place(partial, document_root)
        partial.rename(data)
        ensure_credentials(home)
    _before_an_upgrade(home)
    return read_credentials(home)


def _before_an_upgrade(home: Path) -> None:
    """Write a backup before another version of the server starts and migrates the database."""
    from al_loop.labelling.server.backup import back_up

    noted = home / "data" / _VERSION_FILE
    before = noted.read_text().strip() if noted.is_file() else None
    if before is not None and before != VERSION:
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        back_up(home, home / "backups" / f"{before}-before-{VERSION}-{moment}.tar.gz", before)
    noted.write_text(VERSION)


def _choose_port(wanted: int | None, last: int | None) -> int:
    if wanted is not None:
        if not _free(wanted):
            raise LabelStudioError(f"port {wanted} on {HOST} is in use; choose another, or none to take any")
        return wanted
    if last is not None and _free(last):
        return last
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server itself does
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _wait_until_free(port: int) -> None:
    # The system closes a port a moment after its process has ended; then it can be used again.
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    while not _free(port) and time.monotonic() < deadline:
        time.sleep(0.05)


def _spawn(
    home: Path, environment: Environment, credentials: Credentials, document_root: Path, port: int
) -> int:
    """Start the server process, detached, and return its pid."""
    data = home / "data"
    environ = clean_environ(data) | {
        # Of the token, so that a workspace that is moved keeps its own; of no use to whoever sees it.
        "AL_LOOP_COOKIES": sha256(f"cookies {credentials.token}".encode()).hexdigest()[:8],
        "LABEL_STUDIO_HOST": server_url(port),
        "LABEL_STUDIO_USERNAME": credentials.email,
        "LABEL_STUDIO_PASSWORD": credentials.password,
        "LABEL_STUDIO_USER_TOKEN": credentials.token,
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(document_root),
    }
    # fmt: off
    command = [
        str(environment.python), str(_LAUNCHER), "start", "--no-browser",
        "--data-dir", str(data), "--internal-host", HOST, "--port", str(port),
    ]
    # fmt: on
    return process.spawn(command, environ, home / "server.log")


def _wait_until_ready(home: Path, info: ServerInfo) -> None:
    port = int(info.url.rsplit(":", 1)[1])
    deadline = time.monotonic() + _READY_TIMEOUT_S
    while not is_healthy(port):
        if not is_ours(info.pid, home):
            raise LabelStudioError(f"the Label Studio server ended while starting; {_end_of_log(home)}")
        if time.monotonic() > deadline:
            raise LabelStudioError(
                f"no answer from {info.url} in {_READY_TIMEOUT_S:.0f} s; {_end_of_log(home)}"
            )
        time.sleep(0.2)
    if not _knows_us(info):
        raise LabelStudioError(
            f"what answers at {info.url} does not know the token in {home / 'credentials.json'}: "
            "the file was changed, or another program took the port. Restore the file from a backup, "
            f"or stop and start the server; {_end_of_log(home)}"
        )


def _knows_us(info: ServerInfo) -> bool:
    # Not through the SDK: its import alone takes longer than the server needs to answer.
    import httpx

    from al_loop.labelling.client.http import BoundedClient

    headers = {"Authorization": f"Token {info.token}"}
    try:
        with BoundedClient(timeout=60.0, trust_env=False, verify=False) as http:
            answer = http.get(f"{info.url}/api/current-user/whoami", headers=headers)
    except httpx.HTTPError:
        return False
    return answer.status_code == 200


def _end_of_log(home: Path) -> str:
    log = home / "server.log"
    return "\n".join([f"the end of {log}:", *last_lines(log, 15)])
