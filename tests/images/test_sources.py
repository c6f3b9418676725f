"""What lies in folders and stores: all of it is told, nothing stops the rest, and nothing hangs."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from click.testing import CliRunner
from msgspec import structs
from support.factories import picture_bytes
from support.raw_images import U16, tiff
from support.web_server import Answer, endless, redirect, web_servers

from al_loop.cli import cli
from al_loop.core.config import MonitorConfig
from al_loop.core.errors import DataError
from al_loop.images import object_stores
from al_loop.images.import_sources import ImportSummary, add_sources
from al_loop.images.sources import SkippedFiles, files_at
from al_loop.monitor.inbox import read_inbox
from al_loop.state.workspace import Workspace
from render.core import files

NOT_UTF8 = os.fsdecode(b"weld \xff\xe4.png")


def put(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture_bytes(seed))
    return path


def names(place: object, skipped: SkippedFiles | None = None) -> list[str]:
    return [Path(seen.path).name for seen in files_at(str(place), skipped)]


def test_one_bad_file_does_not_stop_the_good(workspace: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    put(folder / "good.png", 1)
    put(folder / NOT_UTF8, 2)
    put(folder / "new\nline \x1b[31m.png", 3)
    (folder / "cut.tif").write_bytes(tiff(U16)[:40])
    (folder / "nowhere.png").symlink_to("gone.png")
    (folder / "self.png").symlink_to("self.png")
    (folder / "folder.png").mkdir()
    (folder / "linked.png").symlink_to("folder.png")
    os.mkfifo(folder / "pipe.png")
    (folder / "zero.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "socket.png"))
        began = time.monotonic()
        summary = add_sources(workspace, [str(folder)])
        assert time.monotonic() - began < 5
    assert (summary.added, summary.known) == (3, 0)
    reasons = {Path(where).name: reason for where, reason in summary.reasons}
    assert "damaged or cut short" in reasons.pop("cut.tif")
    assert reasons == {
        "linked.png": "cannot be read (a folder, expected a regular file)",
        "nowhere.png": "cannot be read (No such file or directory)",
        "pipe.png": "cannot be read (a named pipe, expected a regular file)",
        "self.png": "cannot be read (Too many levels of symbolic links)",
        "socket.png": "cannot be read (a socket, expected a regular file)",
        "zero.png": "cannot be read (a device, expected a regular file)",
    }
    # By a glob and by name it is the same, and what was taken is known without being read.
    for places in ([str(folder / "*.png")], [str(folder / name) for name in os.listdir(folder)]):
        again = add_sources(workspace, places)
        assert (again.added, again.known) == (0, 3)
        assert len(again.reasons) >= 5  # a linked folder by its name is a folder to search
    json.dumps(summary.reasons, ensure_ascii=False).encode()


def test_the_monitor_says_what_is_bad_once_and_goes_on(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "in"
    put(folder / "good.png", 1)
    put(folder / NOT_UTF8, 2)
    put(folder / "locked.png", 3)
    (folder / "cut.tif").write_bytes(tiff(U16)[:40])
    (folder / "nowhere.png").symlink_to("gone.png")
    (folder / "phone.heic").touch()
    os.mkfifo(folder / "pipe.png")
    for path in folder.iterdir():
        if path.name != "nowhere.png":
            os.utime(path, (1e9, 1e9))
    opened = files.open_regular

    def locked(path: Path | str) -> object:
        if str(path).endswith("locked.png"):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path)

    config = structs.replace(workspace.config, monitor=MonitorConfig(inbox=(str(folder),)))
    here = Workspace(workspace.root, config, workspace.store)
    with monkeypatch.context() as patch:
        patch.setattr(files, "open_regular", locked)
        first = read_inbox(here)
        assert len(first.added) == 2
        assert {Path(where).name for where, _ in first.refused} == {
            "cut.tif",
            "locked.png",
            "nowhere.png",
            "pipe.png",
        }
        assert first.passed_over.startswith("passed over: 1 .heic")
        json.dumps(asdict(first), ensure_ascii=False).encode()
        # What is in a file is told once; what may pass is tried again.
        assert [Path(where).name for where, _ in read_inbox(here).refused] == ["locked.png"]
    assert len(read_inbox(here).added) == 1
    (folder / "gone.png").write_bytes(picture_bytes(4))
    os.utime(folder / "gone.png", (1e9, 1e9))
    assert len(read_inbox(here).added) == 1


def test_a_name_that_is_no_utf8_is_remembered_and_found_again(workspace: Workspace, tmp_path: Path) -> None:
    path = put(tmp_path / NOT_UTF8, 2)
    assert add_sources(workspace, [str(tmp_path)]).added == 1
    address = f"file://{tmp_path}/weld%20%FF%E4.png"
    for table, column in (("images", "source"), ("inbox", "path")):
        assert [row[column] for row in workspace.store.rows(f"SELECT {column} FROM {table}")] == [address]
    assert add_sources(workspace, [address]).known == 1  # as it is shown, it can be given
    path.write_bytes(picture_bytes(7))
    assert add_sources(workspace, [address]).added == 1
    listing = CliRunner().invoke(cli, ["-w", str(workspace.root), "pool", "list"])
    assert "weld%20%FF%E4.png" in listing.output


def test_what_is_no_utf8_can_be_printed(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / NOT_UTF8).write_bytes(b"hello")
    put(tmp_path / "good.png")
    done = CliRunner().invoke(cli, ["-w", str(workspace.root), "pool", "add", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "1 added, 0 known already, 1 refused" in done.output
    assert "%FF%E4.png is not an image" in done.output


def test_pictures_of_other_formats_are_said(workspace: Workspace, tmp_path: Path) -> None:
    for name in ("a.heic", "b.HEIC", "c.gif", "d.nef", "notes.txt", "e.json"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"no image files in .*; passed over: 2 \.heic, 1 \.gif, 1 \.nef \("):
        add_sources(workspace, [str(tmp_path)])
    put(tmp_path / "good.jfif")
    done = CliRunner().invoke(cli, ["-w", str(workspace.root), "pool", "add", str(tmp_path)])
    assert "1 added" in done.output
    assert done.output.count("passed over: 2 .heic, 1 .gif, 1 .nef (not read; convert them") == 1
    assert ".txt" not in done.output
    (tmp_path / "f.tif").write_bytes(tiff(U16 >> 4, pages=3))
    done = CliRunner().invoke(cli, ["-w", str(workspace.root), "pool", "add", str(tmp_path / "f.tif")])
    assert "  1 with 3 pages: the first is taken" in done.output
    assert "  1 scaled from 16 bit (12 used) to 8 bit" in done.output


def test_folders_that_lead_back_to_themselves(tmp_path: Path) -> None:
    put(tmp_path / "in" / "sub" / "a.png")
    put(tmp_path / "in" / ".hidden" / "b.png")
    for name in ("one", "two"):
        (tmp_path / "in" / "sub" / name).symlink_to("..")
    began = time.monotonic()
    assert names(tmp_path / "in") == ["b.png", "a.png"]
    assert names(tmp_path / "in" / "**" / "*.png") == ["a.png"]
    assert names(tmp_path / "**") == ["b.png", "a.png"]
    assert names(tmp_path / "i*" / "sub") == ["a.png"]
    assert time.monotonic() - began < 2


def test_a_folder_that_cannot_be_listed_is_named(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "a" / "x.png", 1)
    put(tmp_path / "b.png", 2)
    scan = os.scandir

    def locked(path: str) -> object:
        if str(path).endswith("/a"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", locked)
    summary = add_sources(workspace, [str(tmp_path)])
    assert (summary.added, summary.refused) == (1, 1)
    assert summary.reasons == [(str(tmp_path / "a"), "cannot be listed (Permission denied)")]
    with pytest.raises(DataError, match="cannot be listed"):
        add_sources(workspace, [str(tmp_path / "a")])


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], str]]:
    with web_servers() as start:
        yield start


def page(handler: BaseHTTPRequestHandler, data: bytes, kind: str = "text/html", stated: int = -1) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(data) if stated < 0 else stated))
    handler.end_headers()
    if handler.command == "GET":
        handler.wfile.write(data)


def line3(photograph: Answer) -> Answer:
    """A folder of two photographs, of which the second answers in its own way."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if handler.path == "/":
            page(handler, b'<a href="good.png">a</a><a href="odd.png">b</a>')
        elif handler.path == "/good.png":
            page(handler, picture_bytes(1), "image/png")
        else:
            photograph(handler)

    return answer


def redirected(to: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        redirect(handler, to)

    return answer


def drips(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(b"x")
        time.sleep(0.05)


def taken(workspace: Workspace, url: str) -> ImportSummary:
    began = time.monotonic()
    summary = add_sources(workspace, [f"{url}/"])
    assert time.monotonic() - began < 6
    return summary


@pytest.mark.integration
def test_a_store_is_read_within_limits(
    workspace: Workspace, serve: Callable[[Answer], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_stores, "MAX_BYTES", 1 << 20)
    monkeypatch.setattr(object_stores, "FETCH_S", 1.5)
    elsewhere = serve(lambda handler: page(handler, picture_bytes(2), "image/png"))
    cases: list[tuple[Answer, str]] = [
        (redirected(f"{elsewhere}/x.png"), "it is redirected to another host, 127.0.0.1:"),
        (endless, "it has more than 1 MiB"),
        (drips, "it took more than 1.5 s"),
        (lambda handler: page(handler, b"123", stated=900), ""),
    ]
    for number, (answer, reason) in enumerate(cases):
        summary = taken(workspace, serve(line3(answer)))
        assert (summary.added, summary.known) == ((1, 0) if number == 0 else (0, 1))
        assert summary.unreached == 1, reason
        assert f"cannot be fetched ({reason}" in summary.reasons[0][1]
    here = serve(line3(redirected("/good.png")))
    assert taken(workspace, here).unreached == 0  # a redirect within the host is followed


@pytest.mark.integration
def test_a_listing_has_an_end(
    workspace: Workspace, serve: Callable[[Answer], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_stores, "MAX_BYTES", 1 << 20)
    deeper = serve(lambda handler: page(handler, b'<a href="a.png">a</a><a href="sub/">s</a>'))
    paths = [seen.path for seen in files_at(f"{deeper}/")]
    assert 1 < len(paths) <= object_stores._DEPTH + 1
    with pytest.raises(DataError, match=r"cannot be listed \(it has more than 1 MiB"):
        add_sources(workspace, [f"{serve(endless)}/"])
    away = serve(redirected(f"{deeper}/"))
    with pytest.raises(DataError, match=r"cannot be listed \(it is redirected to another host, 127.0.0.1:"):
        add_sources(workspace, [f"{away}/"])
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # nothing listens there
        for place in ("", "line/", "a.png", "line/*.png"):
            with pytest.raises(DataError, match=r"cannot be listed \(.*[Cc]onnect"):
                add_sources(workspace, [f"http://127.0.0.1:{closed.getsockname()[1]}/{place}"])
    monkeypatch.setattr(object_stores, "LISTING_S", 1.0)
    with pytest.raises(DataError, match=r"cannot be listed \(it took more than 1 s\)"):
        add_sources(workspace, [f"{serve(drips)}/"])


def test_a_signed_address_of_a_photograph(workspace: Workspace, serve: Callable[[Answer], str]) -> None:
    """Its question mark is no pattern, and its signature is written down nowhere."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if handler.path == "/a.png?X-Amz-Signature=s3cret":
            page(handler, picture_bytes(1), "image/png")
        else:
            handler.send_error(403)

    url = serve(answer)
    assert add_sources(workspace, [f"{url}/a.png?X-Amz-Signature=s3cret"]).added == 1
    assert "s3cret" not in "\n".join(workspace.store.connection.iterdump())
    with pytest.raises(DataError):
        add_sources(workspace, [f"{url}/a.png?X-Amz-Signature=older"])
    with pytest.raises(DataError, match=r"cannot be listed \(.*[Cc]onnect"):
        add_sources(workspace, ["http://127.0.0.1:1/x/?sig=a"])
