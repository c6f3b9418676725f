"""Workspaces, settings, the database and the lock."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec import structs

from al_loop.core.config import load_config, parse_config
from al_loop.core.errors import AlLoopError, ConfigError, LockedError, WorkspaceError
from al_loop.state.database.migrations import MIGRATIONS
from al_loop.state.database.store import Store
from al_loop.state.score_key import ScoreKey
from al_loop.state.workspace import Workspace, find_workspace, init_workspace, open_workspace


def test_init_then_open_from_below(workspace: Workspace) -> None:
    below = workspace.root / "images" / "deep"
    below.mkdir(parents=True)
    assert find_workspace(below) == workspace.root
    assert open_workspace(below).config.classes == ("bolt", "nut")


@pytest.mark.parametrize("template", ["default", "demo"])
def test_every_shipped_template_is_valid(tmp_path: Path, template: str) -> None:
    assert init_workspace(tmp_path / "w", ('say "hi"', "b\\c"), template).config.classes == (
        'say "hi"',
        "b\\c",
    )


def test_default_template_shows_the_defaults(tmp_path: Path) -> None:
    written = init_workspace(tmp_path / "w", ("a",)).config
    assert written == parse_config(b'classes = ["a"]\nname = "w"', "x")


def test_no_workspace_here(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match=r"no workspace at .*al-loop init"):
        open_workspace(tmp_path)


def test_paths_that_are_no_utf8_are_refused_and_strange_names_are_not(tmp_path: Path) -> None:
    """A training writes the path into UTF-8 files."""
    bad = tmp_path / os.fsdecode(b"w\xff")
    with pytest.raises(
        WorkspaceError, match=r"w\\xff/inside: the path of a workspace must be UTF-8\. Rename"
    ):
        init_workspace(bad / "inside", ("bolt",))
    assert not bad.exists()
    strange = init_workspace(tmp_path / 'a\n"b\x1b', ("bolt",))
    assert strange.config.name == r'a\n"b\x1b'
    strange.root.rename(bad)
    with pytest.raises(WorkspaceError, match="must be UTF-8"):
        open_workspace(bad)


def test_init_refuses_a_full_folder_and_a_workspace(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="is a workspace already"):
        init_workspace(workspace.root, ("a",))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.doc").touch()
    with pytest.raises(WorkspaceError, match="not empty"):
        init_workspace(tmp_path / "full", ("a",))
    with pytest.raises(WorkspaceError, match="is a file: expected a new or empty folder"):
        init_workspace(tmp_path / "full" / "thesis.doc", ("a",))


def test_a_killed_init_can_be_repeated(tmp_path: Path) -> None:
    root = init_workspace(tmp_path / "w", ("a",)).root
    (root / "al-loop.toml").unlink()  # it is written last
    assert init_workspace(root, ("b",)).config.classes == ("b",)


def test_a_newer_workspace_is_refused(workspace: Workspace) -> None:
    workspace.store.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    with pytest.raises(WorkspaceError, match=r"newer al-loop .*Upgrade"):
        open_workspace(workspace.root)


def test_a_damaged_database_is_refused(workspace: Workspace) -> None:
    workspace.store.close()
    (workspace.root / "al-loop.db").write_bytes(b"not a database" * 100)
    with pytest.raises(WorkspaceError, match="cannot be used as a database"):
        open_workspace(workspace.root)


def test_a_failed_transaction_leaves_nothing(workspace: Workspace) -> None:
    with pytest.raises(sqlite3.IntegrityError), workspace.store.transaction():
        workspace.store.execute("INSERT INTO facts VALUES ('a', '1')")
        workspace.store.execute("INSERT INTO facts VALUES ('a', '2')")
    assert workspace.store.row("SELECT * FROM facts WHERE key = 'a'") is None


def test_a_migration_that_fails_leaves_the_schema_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store(tmp_path / "x.db").close()
    monkeypatch.setattr(
        "al_loop.state.database.store.MIGRATIONS",
        (*MIGRATIONS, "CREATE TABLE extra (a); CREATE TABLE images (b);"),
    )
    with pytest.raises(WorkspaceError, match="already exists"):
        Store(tmp_path / "x.db")
    monkeypatch.undo()
    store = Store(tmp_path / "x.db")
    assert store.row("SELECT 1 FROM sqlite_master WHERE name = 'extra'") is None
    assert store.count("PRAGMA user_version") == len(MIGRATIONS)


def test_labels_of_an_older_al_loop_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("al_loop.state.database.store.MIGRATIONS", MIGRATIONS[:2])
    old = Store(tmp_path / "x.db")
    old.execute("INSERT INTO images VALUES ('i', 'f', 's', 9, 9, 'from', 'pool', 'now', 1)")
    old.execute("INSERT INTO labels VALUES ('i', 'labelled', '[[1, 1, 5, 5, 0]]', 1, 'ann', 2.5, 'now')")
    old.close()
    monkeypatch.undo()
    row = Store(tmp_path / "x.db").row("SELECT * FROM labels")
    assert row is not None
    assert tuple(row) == ("i", "labelled", "[[1, 1, 5, 5, 0]]", 1, "ann", 2.5, "now", None)


def test_other_classes_are_refused(workspace: Workspace) -> None:
    path = workspace.root / "al-loop.toml"
    path.write_text(path.read_text().replace('"bolt", "nut"', '"nut", "bolt"'))
    with pytest.raises(ConfigError, match="made for bolt, nut"):
        open_workspace(workspace.root)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[cycle]\nkk = 3", r"unknown key 'cycle.kk'; allowed here: k, strategy"),
        ("colour = 3", r"unknown key 'colour'; allowed here: classes, name"),
        ('[cycle]\nk = "many"', r"cycle.k = 'many': expected an integer from 1 to 1000000"),
        ('task = "pose"', r"task = 'pose': expected one of 'detection', 'segmentation'"),
        ("[cycle]\nk = 0", r"cycle.k = 0: expected an integer from 1 to 1000000"),
        (
            '[cycle]\nstrategy = "best"',
            r"cycle.strategy = 'best': expected one of 'badge', .*'dbal', .*'typiclust'",
        ),
        ("[score]\nscore_thr = 7.0", r"score.score_thr = 7.0: expected a number from 0 to 1"),
        (
            "[model]\nimage_size = [640]",
            r"model.image_size = \[640\]: expected a list of 2, each an integer from 1 to 8192",
        ),
        ("[cycle", "not valid TOML"),
    ],
)
def test_wrong_settings_name_key_value_and_what_is_allowed(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse_config(f'classes = ["a"]\n{text}'.encode(), "al-loop.toml")


@pytest.mark.parametrize("classes", ["[]", '["a", "a"]', '[""]', '[" a"]', '["a\\nb"]'])
def test_unusable_classes(classes: str) -> None:
    with pytest.raises(ConfigError, match="classes"):
        parse_config(f"classes = {classes}".encode(), "al-loop.toml")


def test_missing_settings_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "al-loop.toml")


def test_strategy_names_in_the_settings_are_those_there_are() -> None:
    from typing import get_args

    from al_loop.core.config import StrategyName
    from strategies import STRATEGIES

    assert get_args(StrategyName) == tuple(STRATEGIES)


@pytest.mark.integration
def test_a_second_process_is_told_who_holds_the_workspace(workspace: Workspace) -> None:
    code = (
        "import sys, pathlib\n"
        "from al_loop.state.workspace import open_workspace\n"
        f"w = open_workspace(pathlib.Path({str(workspace.root)!r}))\n"
        "with w.lock():\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, "cycle"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(LockedError, match=rf"in use by `-c cycle` \(process {holder.pid} on "),
            workspace.lock(),
        ):
            pass
        holder.communicate("")
    with workspace.lock():  # free again, although the holder left its name in the file
        pass


def test_every_error_has_one_base() -> None:
    import al_loop.core.errors as errors

    kinds = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, Exception)]
    assert len(kinds) > 5
    assert all(issubclass(e, AlLoopError) for e in kinds)


@pytest.mark.integration
def test_a_lock_left_to_orphans_of_a_killed_process_is_waited_for(workspace: Workspace) -> None:
    """The decoding processes of a killed run hold its lock for some seconds more."""
    code = (
        "import os, pathlib, time\n"
        "from al_loop.state.workspace import open_workspace\n"
        f"w = open_workspace(pathlib.Path({str(workspace.root)!r}))\n"
        "with w.lock():\n"
        "    if os.fork() == 0:\n"
        "        os.close(1)\n"
        "        time.sleep(1.5)\n"
        "        os._exit(0)\n"
        "    print('held', flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert killed.stdout == "held\n"
    with workspace.lock():
        pass


def test_scores_of_another_precision_have_a_folder_of_their_own(workspace: Workspace) -> None:
    def folder(precision: str) -> str:
        score = structs.replace(workspace.config.score, precision=precision)
        config = structs.replace(workspace.config, score=score)
        return ScoreKey.of(config, "m0").folder().name

    assert [folder(name) for name in ("fp32", "bf16", "auto")] == [
        "thr-0.05",
        "thr-0.05-bf16",
        "thr-0.05-auto",
    ]
