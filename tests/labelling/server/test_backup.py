"""Backups, annotators and the check of a server, on real servers."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.labelling_tasks import CLASSES, Running, request

from al_loop.cli.simulated_annotator import SimulatedAnnotator
from al_loop.core.errors import LabelStudioError
from al_loop.labelling.check import check_server
from al_loop.labelling.client.client import Api, Connection
from al_loop.labelling.client.image_serving import Upload
from al_loop.labelling.server import backup, server
from al_loop.labelling.server.backup import back_up, restore
from al_loop.labelling.server.environment import VERSION
from al_loop.labelling.server.users import add_user
from al_loop.labelling.tasks.project import ensure_project
from al_loop.labelling.tasks.push import batch_filter, ensure_view

pytestmark = pytest.mark.server


@pytest.fixture
def second(tmp_path: Path) -> Iterator[Path]:
    """The folder of another server, which is stopped at the end."""
    home = tmp_path / "second" / "label-studio"
    yield home
    server.stop(home)


def titles(info: server.ServerInfo) -> set[str]:
    answer = request(info, "GET", "api/projects/").raise_for_status()
    return {str(project["title"]) for project in answer.json()["results"]}


def test_a_backup_of_a_running_server_is_restored_elsewhere(
    label_studio: Running, second: Path, tmp_path: Path
) -> None:
    ensure_project(label_studio.info.connection, "kept for years", CLASSES)
    file = back_up(label_studio.home, tmp_path / "backups" / "one.tar.gz")
    assert file.stat().st_mode & 0o077 == 0
    assert restore(second, file) is None
    info = server.start(second)
    assert "kept for years" in titles(info)
    assert info.token == label_studio.info.token  # the same logins
    with pytest.raises(LabelStudioError, match="the server runs: stop it before you restore"):
        restore(second, file)
    ensure_project(info.connection, "made later", CLASSES)
    server.stop(second)
    kept = restore(second, file)
    assert kept is not None
    assert (kept / "data" / backup.DATABASE).is_file()
    assert "made later" not in titles(server.start(second))


@pytest.mark.parametrize(
    "harm", ["cut", "empty", "text", "no database", "damaged database", "outside", "newer"]
)
def test_files_that_are_no_backups_change_nothing(
    label_studio: Running, second: Path, tmp_path: Path, harm: str
) -> None:
    good = back_up(label_studio.home, tmp_path / "good.tar.gz")
    restore(second, good)
    before = {path: path.read_bytes() for path in second.rglob("*") if path.is_file() and path.name != "lock"}
    bad = tmp_path / "bad.tar.gz"
    if harm == "cut":
        bad.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    elif harm in ("empty", "text"):
        bad.write_bytes(b"" if harm == "empty" else b"hello")
    else:
        _changed(good, bad, harm)
    with pytest.raises(
        LabelStudioError, match=r"no backup of al-loop|is damaged|was written by Label Studio 99\.0"
    ):
        restore(second, bad)
    assert {
        path: path.read_bytes() for path in second.rglob("*") if path.is_file() and path.name != "lock"
    } == before
    assert not (tmp_path / "escaped").exists()


def _changed(good: Path, bad: Path, harm: str) -> None:
    with tarfile.open(good) as source, tarfile.open(bad, "w:gz") as target:
        for member in source.getmembers():
            data = source.extractfile(member).read() if member.isfile() else b""  # type: ignore[union-attr]
            if harm == "no database" and member.name.endswith(backup.DATABASE):
                continue
            if harm == "damaged database" and member.name.endswith(backup.DATABASE):
                data = data[:4096] + b"x" * (len(data) - 4096)
            if harm == "newer" and member.name == "backup.json":
                data = json.dumps({**json.loads(data), "version": "99.0.0"}).encode()
            member.size = len(data)
            target.addfile(member, io.BytesIO(data))
        if harm == "outside":
            out = tarfile.TarInfo("../../../escaped")
            out.size = 1
            target.addfile(out, io.BytesIO(b"x"))


@pytest.mark.slow
def test_another_version_is_started_after_a_backup(
    label_studio: Running, second: Path, tmp_path: Path
) -> None:
    restore(second, back_up(label_studio.home, tmp_path / "one.tar.gz"))
    (second / "data" / "version").write_text("1.20.0")
    server.start(second)
    (kept,) = (second / "backups").iterdir()
    assert kept.name.startswith(f"1.20.0-before-{VERSION}-")
    assert kept.stat().st_mode & 0o077 == 0
    server.stop(second)
    server.start(second)  # the same version: no other backup
    assert len(list((second / "backups").iterdir())) == 1
    server.stop(second)
    restore(second, kept)
    assert (second / "data" / "version").read_text() == "1.20.0"


def test_nothing_to_back_up_and_a_name_that_is_taken(label_studio: Running, tmp_path: Path) -> None:
    with pytest.raises(LabelStudioError, match="holds no server to back up"):
        back_up(tmp_path, tmp_path / "x.tar.gz")
    taken = tmp_path / "taken.tar.gz"
    taken.write_text("precious")
    with pytest.raises(LabelStudioError, match=r"taken\.tar\.gz exists"):
        back_up(label_studio.home, taken)
    assert taken.read_text() == "precious"


def test_an_annotator_can_log_in_and_label(label_studio: Running) -> None:
    info = label_studio.info
    password = add_user(info, "ada@example.org")
    assert len(password) >= 12
    project = ensure_project(info.connection, "for ada", CLASSES)
    person = SimulatedAnnotator(info.url, "ada@example.org", password)
    with info.connection.open() as api:
        view = ensure_view(api, project, batch_filter("c1"), "Cycle 1")
        assert "ada@example.org" in api.users().values()
    assert person.annotate(project, view, lambda _: None, classes=CLASSES).tasks == 0
    with pytest.raises(LabelStudioError, match=r"does not accept ada@example\.org \(.*already exists"):
        add_user(info, "ada@example.org")
    with pytest.raises(LabelStudioError, match="'ada' is no e-mail address"):
        add_user(info, "ada")
    with pytest.raises(LabelStudioError, match=r"does not accept bob@example\.org \(.*8–128 characters"):
        add_user(info, "bob@example.org", "123")


def test_a_server_is_checked(label_studio: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    connection, images = label_studio.info.connection, Upload()
    before = titles(label_studio.info)
    found = check_server(connection, images)
    assert [item.fix for item in found] == [""] * len(found)
    said = " ".join(item.what for item in found)
    for part in (
        "Label Studio 1.23",
        "legacy token belongs to",
        "clock",
        "projects and tasks can be created",
        "get images: /data/upload",
    ):
        assert part in said
    assert titles(label_studio.info) == before  # its project is deleted

    wrong = check_server(Connection(connection.url, "feedface" * 5), images)
    assert "refuses the token" in wrong[-1].fix
    monkeypatch.setattr(Api, "version", lambda _: "1.9.0")
    monkeypatch.setattr(Api, "date", lambda _: "Wed, 01 Jan 2025 00:00:00 GMT")
    fixes = [item for item in check_server(connection, images) if item.fix]
    assert [item.what.split()[0] for item in fixes] == ["Label", "its"]
    assert "it is older than" in fixes[0].fix


def test_from_the_command_line(
    label_studio: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.testing import CliRunner

    from al_loop.cli import cli
    from al_loop.state.workspace import init_workspace

    root = init_workspace(tmp_path / "w", ("a", "b")).root

    def al_loop(*args: str) -> tuple[int, str]:
        done = CliRunner().invoke(cli, ["-w", str(root), "label-studio", *args], standalone_mode=False)
        code = done.return_value if done.exception is None else 1
        return int(code or 0), done.output + str(done.exception or "")

    assert "there is no log at" in al_loop("logs")[1]
    assert "does not run" in al_loop("open")[1]
    home = root / "label-studio"
    shutil.copytree(label_studio.home, home, ignore=shutil.ignore_patterns("server.json", "lock"))
    assert len(al_loop("logs", "--lines", "3")[1].splitlines()) == 3
    status, said = al_loop("backup", str(tmp_path / "b.tar.gz"))
    assert (status, "It contains the logins" in said) == (0, True)
    assert "what was there is in" in al_loop("restore", str(tmp_path / "b.tar.gz"))[1]
    (root / "al-loop.toml").write_text(
        f'classes = ["a", "b"]\n[label_studio]\nurl = "{label_studio.info.url}"\n'
    )
    monkeypatch.setenv("AL_LOOP_LABEL_STUDIO_TOKEN", label_studio.info.token)
    status, said = al_loop("check")
    assert (status, said.count("ok   ")) == (0, 5)
