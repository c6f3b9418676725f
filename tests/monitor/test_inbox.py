"""The inbox: every file once, when it is complete, and no work for known files."""

from __future__ import annotations

import os
import time
from pathlib import Path

import fsspec
import pytest
from msgspec import structs
from support.factories import picture_bytes

from al_loop.core.config import MonitorConfig
from al_loop.images import import_sources
from al_loop.images.sources import FileStat
from al_loop.monitor import inbox
from al_loop.monitor.inbox import InboxReport, read_inbox
from al_loop.state.workspace import Workspace


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "incoming"
    made.mkdir()
    return made


def watching(workspace: Workspace, *places: object) -> Workspace:
    config = structs.replace(workspace.config, monitor=MonitorConfig(inbox=tuple(map(str, places))))
    return Workspace(workspace.root, config, workspace.store)


def put(path: Path, seed: int = 0, age_s: float = 60, data: bytes | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture_bytes(seed) if data is None else data)
    then = time.time() - age_s
    os.utime(path, (then, then))
    return path


def sources(workspace: Workspace) -> list[str]:
    return [row["source"] for row in workspace.store.rows("SELECT source FROM images ORDER BY arrived")]


def test_folders_are_searched_and_each_file_is_taken_once(workspace: Workspace, folder: Path) -> None:
    first, second = put(folder / "b.png", 1), put(folder / "2026-11" / "a.PNG", 2)
    put(folder / ".half-sent.png", 3)
    put(folder / "notes.txt", data=b"no picture")
    here = watching(workspace, folder)
    assert len(read_inbox(here).added) == 2
    assert sorted(sources(here)) == sorted(map(str, (first, second)))
    assert read_inbox(here) == InboxReport()
    put(folder / "copy.png", 1)
    again = read_inbox(here)
    assert (again.added, again.duplicates) == ([], 1)


def test_a_file_that_is_still_being_written_waits(workspace: Workspace, folder: Path) -> None:
    here = watching(workspace, folder)
    whole = picture_bytes(7)
    path = put(folder / "slow.png", data=whole[: len(whole) // 2], age_s=0)
    assert read_inbox(here).waiting == [str(path)]
    put(path, data=whole, age_s=2)  # grown, and changed two seconds ago
    assert read_inbox(here).waiting == [str(path)]
    assert sources(here) == []
    put(path, data=whole, age_s=11)
    assert len(read_inbox(here).added) == 1


def test_a_clock_that_is_behind_the_files_waits_for_two_checks(workspace: Workspace, folder: Path) -> None:
    here = watching(workspace, folder)
    path = put(folder / "of-tomorrow.png", 1, age_s=-86400)
    assert read_inbox(here).waiting == [str(path)]
    assert len(read_inbox(here).added) == 1


def test_what_cannot_be_used_is_said_once_and_tried_again_when_it_changes(
    workspace: Workspace, folder: Path
) -> None:
    here = watching(workspace, folder)
    path = put(folder / "cut.png", data=picture_bytes(1)[:40])
    put(folder / "good.png", 2)
    found = read_inbox(here)
    assert len(found.added) == 1
    assert [(p, "damaged or cut short" in why or "is not an image" in why) for p, why in found.refused] == [
        (str(path), True)
    ]
    assert read_inbox(here).refused == []
    put(path, 1, age_s=50)
    assert len(read_inbox(here).added) == 1


def test_a_name_that_is_used_again_is_another_file(workspace: Workspace, folder: Path) -> None:
    """Cameras count from 1 again after each shift."""
    here = watching(workspace, folder)
    put(folder / "IMG_0001.png", 1, age_s=100)
    read_inbox(here)
    put(folder / "IMG_0001.png", 2, age_s=50)
    assert len(read_inbox(here).added) == 1


def test_globs_and_missing_folders(workspace: Workspace, folder: Path) -> None:
    put(folder / "cam1" / "x.png", 1)
    put(folder / "cam2" / "y.png", 2)
    here = watching(workspace, folder / "cam*" / "*.png", folder / "nowhere", folder / "none-yet-*")
    found = read_inbox(here)
    assert len(found.added) == 2
    assert [line for line in found.missing if "nowhere: no such folder" in line] == found.missing


def test_a_killed_check_loses_nothing(
    workspace: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        put(folder / f"{number}.png", number)
    here = watching(workspace, folder)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(import_sources, "note", killed)
        with pytest.raises(KeyboardInterrupt):
            read_inbox(here)
    found = read_inbox(here)
    assert len(found.added) + found.duplicates == 5
    assert len(sources(here)) == 5


@pytest.mark.integration
def test_known_files_are_not_opened_again(
    workspace: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred thousand of them, in the time of a listing."""
    put(folder / "known.png", 1)
    here = watching(workspace, folder)
    read_inbox(here)
    row = here.store.row("SELECT * FROM inbox")
    assert row is not None
    status = (folder / "known.png").stat()
    many = [FileStat(f"{folder}/{n:06d}.png", 10, str(status.st_mtime_ns), 0.0) for n in range(100_000)]
    with here.store.transaction():
        here.store.connection.executemany(
            "INSERT INTO inbox VALUES (?, 10, ?, 'taken', '', 'now')", [(s.path, s.stamp) for s in many]
        )
    monkeypatch.setattr(inbox, "files_at", lambda *_: iter(many))
    monkeypatch.setattr(import_sources, "prepare_image", lambda *_, **__: pytest.fail("read a known file"))
    statements: list[str] = []
    here.store.connection.set_trace_callback(statements.append)
    assert read_inbox(here) == InboxReport()
    assert len(statements) < 30  # a query for thousands of them, and nothing written
    assert not [said for said in statements if not said.startswith("SELECT")]


def test_an_object_store(workspace: Workspace) -> None:
    store = fsspec.filesystem("memory")
    store.pipe({"/line3/cam/a.png": picture_bytes(1), "/line3/b.png": picture_bytes(2), "/line3/c.txt": b"x"})
    try:
        here = watching(workspace, "memory://line3/")
        assert len(read_inbox(here).added) == 2
        assert sources(here) == ["memory:///line3/b.png", "memory:///line3/cam/a.png"]
        assert read_inbox(here) == InboxReport()
        store.pipe("/line3/d.png", picture_bytes(3))
        assert len(read_inbox(watching(workspace, "memory://line3/*.png")).added) == 1
    finally:
        store.rm("/line3", recursive=True)


@pytest.mark.parametrize("url", ["s4://x/y", "ssh2://"])
def test_a_place_that_means_nothing_does_not_stop_the_others(
    workspace: Workspace, folder: Path, url: str
) -> None:
    put(folder / "good.png", 1)
    found = read_inbox(watching(workspace, url, folder))
    assert len(found.added) == 1
    (missing,) = found.missing
    assert missing.startswith(f"{url}: Protocol not known")
    assert missing.endswith("Correct monitor.inbox in al-loop.toml")


def test_a_store_that_refuses_does_not_stop_the_others(
    workspace: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a store raises is part of no interface."""

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no credentials")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "find", refuse)
    put(folder / "good.png", 1)
    found = read_inbox(watching(workspace, "memory://line3/", folder))
    assert len(found.added) == 1
    assert found.missing == ["memory://line3/: cannot be listed (no credentials)"]
