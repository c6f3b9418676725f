"""The embedded server: starts, stops, keeps its secrets, and listens on loopback only."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import stat
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from support.labelling_tasks import Running, version_of

from al_loop.core.errors import LabelStudioError
from al_loop.labelling.client.http import csrf_token
from al_loop.labelling.server import process, server, server_state
from al_loop.labelling.server.credentials import read_credentials
from al_loop.labelling.server.environment import ensure_environment, find_environment

pytestmark = pytest.mark.server

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    where = tmp_path / "work space" / "label-studio"
    try:
        yield where
    finally:
        server.stop(where)


def sockets_of(pid: int) -> list[tuple[str, int]]:
    """Return (hexadecimal address, port) of every socket the process listens on."""
    links = [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir() if entry.is_symlink()]
    inodes = {link[len("socket:[") : -1] for link in links if link.startswith("socket:[")}
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            cells = line.split()
            if cells[3] == "0A" and cells[9] in inodes:
                address, port = cells[1].split(":")
                found.append((address, int(port, 16)))
    return found


def test_the_template_holds_no_user_and_no_secret() -> None:
    template = ensure_environment().template
    assert not (template / ".env").exists()
    with closing(sqlite3.connect(f"file:{template}/label_studio.sqlite3?mode=ro", uri=True)) as database:
        for table in ("htx_user", "organization", "authtoken_token", "project"):
            assert database.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


def test_start_stop_status_and_start_again(home: Path) -> None:
    assert not server_state.status(home).running
    assert not server.stop(home)
    with pytest.raises(LabelStudioError, match="al-loop label-studio start"):
        server.running_server(home)

    first = server.start(home)
    assert server.start(home) == first == server.running_server(home)
    assert server_state.status(home) == server_state.ServerStatus(
        True, True, first.url, first.pid, home / "server.log"
    )
    assert version_of(first.connection) == "1.23.2"
    assert os.getsid(first.pid) == first.pid  # a session of its own: Ctrl-C does not reach it

    assert server.stop(home)
    assert not server_state.status(home).running
    again = server.start(home)
    assert (again.url, again.token, again.password) == (first.url, first.token, first.password)
    assert again.pid != first.pid

    # As after a kill before the pid was recorded.
    assert process.find(f"--data-dir {home / 'data'} ") == again.pid
    (home / "server.json").unlink()
    assert server.stop(home)
    assert process.find(f"--data-dir {home / 'data'} ") is None


def test_a_first_start_that_was_killed_starts_over(home: Path) -> None:
    # As after a kill between the creation of the user and that of its token.
    (home / "data").mkdir(parents=True)
    (home / "data" / "unfinished").touch()
    (home / "data" / "label_studio.sqlite3").write_bytes(b"half of a database")
    info = server.start(home)
    assert version_of(info.connection) == "1.23.2"

    # Whatever answers must know our token, or it is not our server.
    secrets = (home / "credentials.json").read_text()
    (home / "credentials.json").write_text(secrets.replace(info.token, "f" * 40))
    with pytest.raises(LabelStudioError, match="does not know the token"):
        server.start(home)


def test_a_stale_or_damaged_state_is_no_server(home: Path) -> None:
    home.mkdir(parents=True)
    for state in ({"pid": os.getpid(), "port": 1}, {"pid": 2**22 + 1, "port": 1}, {}):
        (home / "server.json").write_text(json.dumps(state))
        assert not server_state.status(home).running
        assert not server.stop(home)  # above all, the process of that pid is left alone
    (home / "server.json").write_text("{")
    assert not server_state.status(home).running


def test_a_busy_port_is_refused(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(LabelStudioError, match=f"port {port} on 127.0.0.1 is in use"):
            server.start(home, port=port)
    assert not server_state.status(home).running


def test_a_port_that_is_taken_before_the_server_takes_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    choose = server._choose_port
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        chosen = iter([port])
        monkeypatch.setattr(server, "_choose_port", lambda *last: next(chosen, None) or choose(*last))
        info = server.start(home)
        assert info.url != f"http://127.0.0.1:{port}"
        assert version_of(info.connection) == "1.23.2"


def test_the_folder_with_the_secrets_is_never_served(home: Path) -> None:
    with pytest.raises(LabelStudioError, match="contains secrets of the server"):
        server.start(home, document_root=home.parent)


def test_a_server_that_cannot_start_shows_its_log(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HOST", "no-such-option --bad")
    monkeypatch.setattr(server, "_is_free", lambda port: True)
    with pytest.raises(LabelStudioError, match=r"(?s)ended while starting.*server\.log"):
        server.start(home, port=1)


@linux
def test_it_listens_on_loopback_only(label_studio: Running) -> None:
    info = label_studio.info
    port = int(info.url.rsplit(":", 1)[1])
    assert sockets_of(info.pid) == [("0100007F", port)]


@linux
def test_secrets_stay_in_one_file_of_the_owner(label_studio: Running) -> None:
    home = label_studio.home
    info = label_studio.info
    known = read_credentials(home)
    assert stat.S_IMODE((home / "credentials.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((home / "data").stat().st_mode) == 0o700
    assert len(known.password) >= 16
    assert len(known.token) == 40
    for secret in (known.password, known.token):
        assert secret not in repr(info) + repr(known) + repr(info.connection)
        assert secret.encode() not in Path(f"/proc/{info.pid}/cmdline").read_bytes()
        for name in ("server.json", "server.log"):
            assert secret not in (home / name).read_text()


def test_signing_up_without_an_invitation_is_closed(label_studio: Running) -> None:
    url = label_studio.info.url
    form = {"email": "a@example.org", "password": "long-enough-1", "allow_newsletters": "false"}
    with httpx.Client(base_url=url, trust_env=False) as http:
        http.get("/user/login/")
        form["csrfmiddlewaretoken"] = csrf_token(http.cookies)
        answer = http.post("/user/signup/", data=form, headers={"Referer": url})
        assert answer.status_code == 403
        assert http.get("/api/current-user/whoami").status_code == 401


def test_an_installation_that_fails_says_why_and_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AL_LOOP_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    said: list[str] = []
    with pytest.raises(LabelStudioError, match=r"(?s)pip install .* failed .*Try again with"):
        ensure_environment(said.append)
    assert "installing Label Studio" in said[0]
    assert not find_environment().complete


def test_the_environment_is_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AL_LOOP_CACHE", str(tmp_path))
    assert find_environment().root == tmp_path / "label-studio-1.23.2"
    monkeypatch.delenv("AL_LOOP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert find_environment().root == tmp_path / "xdg" / "al-loop" / "label-studio-1.23.2"
    assert not find_environment().complete
