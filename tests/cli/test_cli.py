"""The command line as a user types it: output, errors, exit codes."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support.factories import draw, write_coco_set

from al_loop.cli import cli
from al_loop.core.console import Terminal, say_json
from al_loop.state.workspace import Workspace


def test_from_nothing_to_a_pool(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool, val = write_coco_set(tmp_path / "pool", 3, seed=1), write_coco_set(tmp_path / "val", 2, seed=2)
    code, out, _ = run("init", tmp_path / "line3", "--classes", "bolt, nut")
    assert (code, "workspace" in out) == (0, True)
    monkeypatch.chdir(tmp_path / "line3")
    assert run("pool", "add", pool.parent / "images")[1].startswith("3 added, 0 known already, 0 refused")
    assert run("pool", "add", pool.parent / "images" / "*.png")[1].startswith("0 added, 3 known already")
    assert "2 validation images added" in run("pool", "add-val", val)[1]
    code, out, _ = run("pool", "list", "--limit", 2)
    assert "2 of 5 images" in out
    code, out, _ = run("status")
    assert code == 0
    assert "pool        3 unlabelled" in out
    assert "next        al-loop label-studio start" in out


def test_no_workspace(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for command in (("status",), ("pool", "list"), ("cycle",), ("report",), ("rollback",), ("pretrain",)):
        code, out, err = run(*command)
        assert (code, out) == (1, "")
        assert err.startswith("error: no workspace at")
        assert "al-loop init" in err
        assert "Traceback" not in err


@pytest.mark.parametrize("k", ["0", "-3", "many"])
def test_k_must_be_a_positive_number(run: Any, filled: Workspace, k: str) -> None:
    code, _, err = run("-w", filled.root, "cycle", "--k", k)
    assert code == 2
    assert "Invalid value for '--k'" in err


def test_what_a_first_cycle_needs(run: Any, workspace: Workspace, tmp_path: Path) -> None:
    code, _, err = run("-w", workspace.root, "cycle")
    assert code == 1
    assert "nothing to label: all 0 images of the pool" in err
    write_coco_set(tmp_path / "pool", 3)
    run("-w", workspace.root, "pool", "add", tmp_path / "pool")
    assert "no validation set, and the pool is too small" in run("-w", workspace.root, "cycle")[2]
    run("-w", workspace.root, "pool", "add-val", write_coco_set(tmp_path / "val", 2, seed=2))
    run("-w", workspace.root, "pool", "add-labelled", write_coco_set(tmp_path / "mine", 2, seed=3))
    assert "no model yet, but images to train it on" in run("-w", workspace.root, "cycle")[2]
    assert "next        al-loop pretrain" in run("-w", workspace.root, "status")[1]


def test_pretrain_needs_images_of_the_classes(run: Any, filled: Workspace) -> None:
    assert "al-loop render" in run("-w", filled.root, "pretrain")[2]
    write_coco_set(filled.synthetic / "others", 2, classes=("screw",)).rename(
        filled.synthetic / "others" / "annotations.json"
    )
    filled.store.execute("INSERT INTO datasets VALUES ('others', 'x', 2, 'now')")
    assert "the images to pretrain on have no box of bolt, nut" in run("-w", filled.root, "pretrain")[2]


def test_unknown_recipe_lists_those_there_are(run: Any, filled: Workspace) -> None:
    err = run("-w", filled.root, "render", "dices", "--count", 2)[2]
    assert "no recipe 'dices': expected a TOML file, or one of " in err
    assert "dice, dice-station, " in err


def test_wrong_setting(run: Any, filled: Workspace) -> None:
    path = filled.root / "al-loop.toml"
    path.write_text(path.read_text().replace("k = 25", "k = -1"))
    code, _, err = run("-w", filled.root, "status")
    assert code == 1
    assert "cycle.k = -1: expected an integer from 1 to 1000000" in err


def test_rollback_without_models(run: Any, filled: Workspace) -> None:
    assert "no model yet" in run("-w", filled.root, "rollback")[2]


def test_interrupted(run: Any, filled: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("al_loop.loop.status.describe", interrupt)
    code, _, err = run("-w", filled.root, "status")
    assert code == 130
    assert "nothing is lost" in err


def test_refused_files_are_named_and_only_bad_files_fail(run: Any, filled: Workspace, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_text("x")
    code, out, err = run("-w", filled.root, "pool", "add", tmp_path / "bad.jpg")
    assert code == 1
    assert f"refused: {tmp_path / 'bad.jpg'} is not an image" in out
    assert "none of the files could be used" in err
    assert run("-w", filled.root, "pool", "add", tmp_path / "nowhere")[2].startswith("error: nothing at")


@pytest.mark.integration
def test_pretrain_on_own_data_and_the_papers_model_without_its_checkpoint(
    run: Any, filled: Workspace, tmp_path: Path
) -> None:
    settings = filled.root / "al-loop.toml"
    settings.write_text(settings.read_text().replace('config = "lite"', 'config = "r50"'))
    coco = write_coco_set(tmp_path / "own", 2, seed=5)
    code, _, err = run("-w", filled.root, "pretrain", "--data", coco)
    assert code == 1
    assert "freezes its first layers" in err
    assert "model.load_from" in err


def test_rendering_on_a_cluster_that_is_not_there(run: Any, filled: Workspace, tmp_path: Path) -> None:
    recipe = tmp_path / "cube.toml"
    recipe.write_text('name = "cube"\n[[parts]]\nname = "bolt"\nshape = "box"\nsize_m = 0.02\n')
    given = ("-w", filled.root, "render", recipe, "--count", 1, "--workers", 2, "--ray", "127.0.0.1:1")
    code, _, err = run(*given)
    assert code == 1
    assert err.startswith(
        "error: no Ray cluster at 127.0.0.1:1 (Connection refused); start one: ray start --head"
    )


NASTY = "bolt\x1b[2J\nadded 9\u202egpj.png"


def test_names_from_files_reach_no_terminal_as_they_are(
    run: Any, workspace: Workspace, tmp_path: Path
) -> None:
    """A name may clear the screen, begin a line of its own, or turn what follows around."""
    shown = "bolt\\x1b[2J\\nadded 9\\u202egpj.png"
    (tmp_path / "photos").mkdir()
    draw(96, 64, [], 1).save(tmp_path / "photos" / NASTY)
    (tmp_path / "photos" / f"bad {NASTY}").write_text("x")
    code, out, _ = run("-w", workspace.root, "pool", "add", tmp_path / "photos")
    assert code == 0
    assert len(out.splitlines()) == 2
    assert out.splitlines()[1].startswith(f"  refused: {tmp_path}/photos/bad {shown} is not an image")
    code, out, _ = run("-w", workspace.root, "pool", "list")
    assert len(out.splitlines()) == 2
    assert out.splitlines()[0].endswith(f"/photos/{shown}")
    # Errors: ours, and those of the command line itself.
    for arguments in (
        ("pool", "add", tmp_path / "\x1b[2Jnowhere"),
        ("pool", "add-val", tmp_path / "\x1b[2Jnowhere"),
    ):
        code, out, err = run("-w", workspace.root, *arguments)
        assert code
        assert "\\x1b[2Jnowhere" in err
        assert "\x1b" not in out + err


def test_what_the_system_refuses_is_said(run: Any, workspace: Workspace, tmp_path: Path) -> None:
    """Also where no reader expects it: a name that is too long for the file system."""
    code, out, err = run("-w", workspace.root, "report", "--out", tmp_path / ("a" * 300) / "b.html")
    assert (code, out) == (1, "")
    assert "File name too long" in err


@pytest.mark.integration
@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None, reason="only root mounts a small disk"
)
def test_a_full_disk_is_no_traceback(tmp_path: Path) -> None:
    """A disk of 1 MB, mounted for this process alone."""
    photos = write_coco_set(tmp_path / "photos", 60, size=(200, 150)).parent / "images"
    (tmp_path / "disk").mkdir()
    script = (
        f"mount -t tmpfs -o size=1m none {tmp_path}/disk || exit 77\n"
        f"{sys.executable} -m al_loop init {tmp_path}/disk/w --classes bolt,nut || exit 78\n"
        f"{sys.executable} -m al_loop -w {tmp_path}/disk/w pool add {photos}\n"
    )
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip("no right to mount")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "Make room on the disk (al-loop gc)" in done.stderr


def test_json_is_printed_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"name": NASTY, "größe": "\x85\u2028"}
    say_json(json.dumps(value, ensure_ascii=False))
    out = capsys.readouterr().out
    assert out.isprintable() or out[:-1].isprintable()
    assert "größe" in out
    assert json.loads(out) == value


def test_a_progress_bar_takes_names_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    with Terminal().progress("render [red]\x1b[2J") as progress:
        progress(1, 2, "[/nothing]\x1b[2J")
    assert "\x1b[2J" not in capsys.readouterr().err


def test_the_next_command_can_be_typed_as_it_is_printed(run: Any, tmp_path: Path) -> None:
    folder = tmp_path / "line 3; it's"
    _, out, _ = run("init", folder, "--classes", "bolt")
    command = next(line for line in out.splitlines() if line.startswith("next: ")).removeprefix("next: ")
    assert shlex.split(command)[:2] == ["cd", str(folder)]
    code, _, err = run("init", folder, "--classes", "bolt")
    assert code == 1
    assert f"al-loop --workspace {shlex.quote(str(folder))} status" in err


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["shift", "coco.json"], "`al-loop shift` was renamed: type `al-loop corrupt`"),
        (
            ["pool", "restore-labels", "--last"],
            "`al-loop pool restore-labels` was renamed: type `al-loop labels restore`",
        ),
        (["benchmark", "--anew"], "`--anew` was renamed: use `--from-initial`"),
        (["benchmark", "--ways=joint"], "`--ways` was renamed: use `--schedules`"),
    ],
)
def test_what_was_renamed_is_refused_with_its_new_name(args: list[str], says: str) -> None:
    result = CliRunner().invoke(cli, args)
    assert result.exit_code == 2
    assert says in result.output
