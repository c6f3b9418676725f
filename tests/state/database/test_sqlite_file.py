"""The database file: its rights, damage, and read-only workspaces."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.read_only import al_loop, close_to_writing, needs_modes, open_to_writing

from al_loop.core.errors import WorkspaceError
from al_loop.state.database import sqlite_file
from al_loop.state.database import store as store_module
from al_loop.state.database.migrations import MIGRATIONS
from al_loop.state.database.store import Store
from al_loop.state.workspace import Workspace, init_workspace, open_workspace

PAGE = 4096
_INSERT = (
    "INSERT INTO images (id, file, stored_sha256, width, height, source, role, added_at, arrived) "
    "VALUES (?, 'f', 's', 9, 9, 'from', 'pool', 'now', ?)"
)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def add_rows(store: Store, count: int = 2000, start: int = 0) -> None:
    with store.transaction():
        for number in range(start, start + count):
            store.execute(_INSERT, f"{number:064x}", number)


def damage(path: Path, page: int) -> None:
    """Overwrite the head of a page of a closed database."""
    with path.open("r+b") as file:
        file.seek((page - 1) * PAGE)
        file.write(b"\x37" * 512)


def root_page(store: Store, name: str) -> int:
    return store.count("SELECT rootpage FROM sqlite_master WHERE name = ?", name)


def test_the_database_is_its_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        workspace = init_workspace(tmp_path / "w", ("a",))
        workspace.store.execute("INSERT INTO facts VALUES ('a', 'b')")
        files = sqlite_file.database_files(workspace.root / "al-loop.db")
        assert [mode(path) for path in files] == [0o600] * 3
    finally:
        os.umask(before)


def test_what_others_may_read_is_closed_when_a_workspace_is_opened(workspace: Workspace) -> None:
    workspace.store.close()
    home = workspace.server_home
    (home / "data").mkdir(parents=True)
    (home / "credentials.json").write_text("{}")
    for path, open_mode in ((workspace.root / "al-loop.db", 0o644), (home / "credentials.json", 0o664)):
        path.chmod(open_mode)
    (home / "data").chmod(0o755)
    open_workspace(workspace.root)
    assert mode(workspace.root / "al-loop.db") == 0o600
    assert mode(home / "credentials.json") == 0o600
    assert mode(home / "data") == 0o700


def test_a_database_of_somebody_else_is_no_damage(
    workspace: Workspace, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed = os.access
    monkeypatch.setattr(  # the right of root to read everything
        os, "access", lambda path, mode: not str(path).endswith(".db") and allowed(path, mode)
    )
    for command in ("status", "doctor"):
        code, out, err = run("-w", workspace.root, command)
        assert code == 1
        assert f"may be read by its owner only (user {os.geteuid()})" in out + err
        assert "Run the command as that user" in out + err
        assert "backup" not in out + err


def test_a_damaged_page_is_found_before_anything_is_written(workspace: Workspace) -> None:
    add_rows(workspace.store)
    page = root_page(workspace.store, "images")
    workspace.store.close()
    path = workspace.root / "al-loop.db"
    damage(path, page)
    before = path.read_bytes()
    again = open_workspace(workspace.root)
    with pytest.raises(
        WorkspaceError, match=r"is damaged .*al-loop doctor.*Restore al-loop\.db from a backup"
    ):
        again.lock().__enter__()
    # Nothing can be written through it from then on.
    with pytest.raises(WorkspaceError, match="is damaged"):
        again.store.execute("INSERT INTO facts VALUES ('a', 'b')")
    again.store.close()
    assert path.read_bytes() == before


def test_a_database_without_a_byte_is_damage_and_not_a_new_one(workspace: Workspace) -> None:
    workspace.store.close()
    path = workspace.root / "al-loop.db"
    path.write_bytes(b"")
    with pytest.raises(WorkspaceError, match=r"is damaged .*it is empty.*Restore al-loop\.db from a backup"):
        open_workspace(workspace.root)
    with pytest.raises(WorkspaceError, match="it is empty"):
        Store(path, only_read=True)
    assert path.read_bytes() == b""


def test_damage_that_is_met_while_reading_ends_all_writing(workspace: Workspace) -> None:
    add_rows(workspace.store)
    page = root_page(workspace.store, "images")
    workspace.store.close()
    damage(workspace.root / "al-loop.db", page)
    store = Store(workspace.root / "al-loop.db")
    with pytest.raises(WorkspaceError, match="is damaged"):
        store.rows("SELECT * FROM images")
    with pytest.raises(WorkspaceError, match="is damaged"), store.transaction():
        store.execute("INSERT INTO facts VALUES ('a', 'b')")


def test_a_large_database_is_looked_through_once_a_day_and_after_a_kill(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_ALWAYS_BYTES", 0)
    add_rows(workspace.store)
    with workspace.lock():
        pass
    workspace.store.close()
    path = workspace.root / "al-loop.db"
    damage(path, root_page(Store(path), "images"))
    again = open_workspace(workspace.root)
    with again.lock():  # checked today
        pass
    again.store.connection.left_open = True  # as after a kill, which leaves a -wal
    with pytest.raises(WorkspaceError, match="is damaged"):
        again.lock().__enter__()


def test_a_killed_command_is_seen_by_the_next(workspace: Workspace) -> None:
    workspace.store.close()
    code = (
        "import os, pathlib, signal\n"
        "from al_loop.state.workspace import open_workspace\n"
        f"w = open_workspace(pathlib.Path({str(workspace.root)!r}))\n"
        "w.store.execute(\"INSERT INTO facts VALUES ('a', 'b')\")\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code], check=False)
    assert killed.returncode == -signal.SIGKILL
    again = open_workspace(workspace.root)
    assert again.store.connection.left_open
    with again.lock():
        assert not again.store.connection.left_open
    assert again.store.row("SELECT value FROM facts WHERE key = 'a'") is not None


def test_a_full_disk_is_said_and_keeps_what_was_written(workspace: Workspace) -> None:
    add_rows(workspace.store, 10)
    pages = workspace.store.count("PRAGMA page_count")
    workspace.store.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(
        WorkspaceError, match=r"cannot be written .*Free space on the disk, and run the same command again"
    ):
        add_rows(workspace.store, start=10)
    assert workspace.store.count("SELECT count(*) FROM images") == 10
    workspace.store.execute("PRAGMA max_page_count = 100000")
    workspace.store.execute(_INSERT, "more", 10_000)  # no transaction was left open


def test_another_program_that_holds_the_database_is_said(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "_BUSY_S", 0.1)
    other = sqlite3.connect(workspace.root / "al-loop.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    store = Store(workspace.root / "al-loop.db")
    with pytest.raises(WorkspaceError, match="in use by another program"):
        store.execute("INSERT INTO facts VALUES ('a', 'b')")
    other.execute("COMMIT")
    store.execute("INSERT INTO facts VALUES ('a', 'b')")
    other.close()


def test_a_table_that_is_missing_is_no_traceback(workspace: Workspace) -> None:
    workspace.store.execute("DROP TABLE looks")
    with pytest.raises(
        WorkspaceError, match=r"lacks a table or column .*no such table: looks.*al-loop doctor"
    ):
        workspace.store.rows("SELECT * FROM looks")


def test_a_file_that_is_read_without_locks_must_stay_as_it_is(workspace: Workspace) -> None:
    workspace.store.close()
    store = Store(workspace.root / "al-loop.db")
    store.connection.stamp = sqlite_file._stamp(workspace.root / "al-loop.db")
    store.rows("SELECT * FROM facts")
    os.utime(workspace.root / "al-loop.db", (1, 1))
    with pytest.raises(WorkspaceError, match="was changed while it was read"):
        store.rows("SELECT * FROM facts")


@needs_modes
class TestReadOnly:
    """A workspace in which nothing can be written."""

    @pytest.mark.integration
    def test_what_only_reads_works(self, filled: Workspace, tmp_path: Path) -> None:
        filled.store.close()
        close_to_writing(filled.root)
        try:
            for command in (("pool", "list"), ("models", "list"), ("report", "--json")):
                status, out, err = al_loop(filled.root, *command)
                assert (status, err) == (0, ""), command
            status, out, _ = al_loop(filled.root, "status")
            assert status == 0
            assert "6 unlabelled" in out
            status, _, err = al_loop(filled.root, "gc")
            assert status == 1
            assert "is read-only here, and this command writes to it. These commands work: status" in err
            assert "backup" not in err
            assert sorted(p.name for p in filled.root.iterdir()) == ["al-loop.db", "al-loop.toml", "images"]
        finally:
            open_to_writing(filled.root)

    @pytest.mark.integration
    def test_changes_that_a_killed_command_left_are_read(self, filled: Workspace) -> None:
        filled.store.execute("DELETE FROM labels")
        for left in (True, False):  # with the index beside it, and as a backup that left it out
            copy = filled.root.with_name(f"copy-{left}")
            shutil.copytree(filled.root, copy)  # while it is open: the -wal goes along
            if not left:
                (copy / "al-loop.db-shm").unlink()
            close_to_writing(copy)
            try:
                status, out, err = al_loop(copy, "status")
            finally:
                open_to_writing(copy)
            if left:
                assert status == 0, err
                assert "validation  4 images" in out
            else:
                assert status == 1
                assert "al-loop.db-wal holds changes that cannot be read without writing" in err

    @pytest.mark.integration
    def test_an_older_schema_stays_as_it_is(
        self, tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("al_loop.state.database.store.MIGRATIONS", MIGRATIONS[:2])
        (workspace.root / "al-loop.db").unlink()
        Store(workspace.root / "al-loop.db").close()
        close_to_writing(workspace.root)
        try:
            status, _, err = al_loop(workspace.root, "status")
        finally:
            open_to_writing(workspace.root)
        assert status == 1
        assert "made by an older al-loop (schema 2" in err
        assert "Copy the workspace to a writable place" in err


def test_another_connection_leaves_the_locks_of_the_first(tmp_path: Path) -> None:
    """Closing a file of an open database in the same process would drop its locks."""
    path = tmp_path / "x.db"
    first = Store(path)
    first.execute("INSERT INTO facts VALUES ('a', '1')")
    Store(path).close()
    code = (
        "import sys; from al_loop.state.database.store import Store; store = Store(sys.argv[1]);"
        "store.execute(\"INSERT INTO facts VALUES ('b', '2')\"); store.close()"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    # The last process to close the database deletes this file; that one was not the last.
    assert path.with_name("x.db-wal").stat().st_size > 0
    first.execute("INSERT INTO facts VALUES ('c', '3')")
    first.check()
    first.close()
    assert Store(path).count("SELECT count(*) FROM facts WHERE key IN ('a', 'b', 'c')") == 3
