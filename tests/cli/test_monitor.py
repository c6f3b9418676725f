"""`al-loop monitor` as cron, systemd and people call it; the model is real, with random weights."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.command import run_command
from support.factories import draw, write_checkpoint, write_coco_set

from al_loop.core.console import Silent
from al_loop.models.pretrain import import_checkpoint
from al_loop.state.workspace import Workspace, open_workspace

pytestmark = pytest.mark.integration


def run(workspace: Workspace, *args: object) -> subprocess.CompletedProcess[str]:
    return run_command(workspace.root, "monitor", *args)


@pytest.fixture
def watched(small: Workspace, tmp_path: Path) -> Workspace:
    """A real model, a pool of 126 photographs, and an inbox."""
    for number in range(120):
        put(tmp_path / "first" / f"{number}.png", number)
    (tmp_path / "incoming").mkdir()
    watch(small, f'inbox = ["{tmp_path}/first", "{tmp_path}/incoming"]', 'triggers = ["drift"]')
    opened = open_workspace(small.root)
    import_checkpoint(opened, str(write_checkpoint(tmp_path / "m0.pth")), None, Silent())
    return opened


def watch(workspace: Workspace, *lines: str) -> None:
    """Write the section of the monitor anew."""
    path = workspace.root / "al-loop.toml"
    own = "\n".join(["[monitor]", "min_age_s = 0", *lines, "", ""])
    path.write_text(re.sub(r"(?s)\[monitor\]\n.*?\n\n", own, path.read_text()))


def put(path: Path, seed: int, light: float = 1.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.asarray(draw(96, 64, [[float(seed % 60), 10, 20, 12]], seed)) * light
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)


def test_quiet_then_triggered_as_cron_sees_it(watched: Workspace, tmp_path: Path) -> None:
    first = run(watched)
    assert first.returncode == 0, first.stderr
    assert "120 new images" in first.stdout
    for number in range(100):
        put(tmp_path / "incoming" / f"dark-{number}.png", 1000 + number, light=0.3)
    gauges = tmp_path / "al-loop.prom"
    second = run(watched, "--json", "--prometheus", gauges)
    assert second.returncode == 10, second.stderr
    found = json.loads(second.stdout)
    assert found["triggered"] is True
    assert found["new_images"] == 100
    assert [w["drifted"] for w in found["windows"]] == [True, True]
    name = watched.config.name
    assert f'al_loop_triggered{{workspace="{name}"}} 1.0' in gauges.read_text()
    assert f'al_loop_trigger_due{{trigger="drift",workspace="{name}"}} 1.0' in gauges.read_text()
    third = run(watched)
    assert third.returncode == 10
    assert "DUE      drift" in third.stdout
    assert "a cycle is due: al-loop cycle" in third.stdout


@pytest.mark.slow
def test_watching_goes_on_until_it_is_stopped(watched: Workspace, tmp_path: Path) -> None:
    put(tmp_path / "incoming" / "a.png", 500)
    process = subprocess.Popen(
        [sys.executable, "-m", "al_loop", "-w", str(watched.root), "monitor", "--watch", "1s", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["new_images"] == 121
        put(tmp_path / "incoming" / "b.png", 501)
        seen = [json.loads(process.stdout.readline())["new_images"] for _ in range(3)]
        assert sum(seen) == 1
        with watched.lock():  # a cycle has the workspace: the next look says so, and the one after goes on
            time.sleep(2.5)
        assert json.loads(process.stdout.readline())["triggered"] is False
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0
    assert "is in use by" in errors


def test_two_monitors_at_once(watched: Workspace) -> None:
    with watched.lock():
        second = run(watched)
    assert second.returncode == 1
    assert "is in use by" in second.stderr
    assert f"process {os.getpid()}" in second.stderr


@pytest.mark.parametrize(
    ("args", "says", "status"),
    [
        (["--watch", "soon"], "--watch soon: expected a time such as 30s, 5m or 2h", 1),
        (["--once"], "`--once` is not needed: without --watch, the monitor checks once", 2),
    ],
)
def test_options_that_make_no_sense(filled: Workspace, args: list[str], says: str, status: int) -> None:
    done = run(filled, *args)
    assert done.returncode == status
    assert says in done.stderr


@pytest.mark.slow
def test_calibrating_on_the_pool_itself(watched: Workspace, tmp_path: Path) -> None:
    assert "expected at least 100 images, got 6" in run(watched, "calibrate").stderr
    run(watched)
    done = run(watched, "calibrate", "--trials", "20", "--level", "5", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found["power"]) == {"blur", "noise", "darker", "brighter", "colour", "compression"}
    assert found["power"]["darker"]["50"] > 0.9
    assert found["false_alarms"] <= 5
    assert found["images"] == 126
    said = run(watched, "calibrate", "--trials", "20", "--level", "5").stdout
    assert f"  min_effect = {found['effect']:.2f}" in said  # the same again: it is seeded


def test_an_inbox_that_is_not_there_is_an_error_after_the_rest(watched: Workspace, tmp_path: Path) -> None:
    (tmp_path / "incoming").rmdir()
    done = run(watched)
    assert done.returncode == 1
    assert "120 new images" in done.stdout
    assert f"error: cannot read {tmp_path}/incoming: no such folder. Make it, or correct" in done.stderr


def test_half_a_set_of_photographs(filled: Workspace, tmp_path: Path) -> None:
    """Without a model the photographs are in the pool all the same, and the error says what to do."""
    coco = write_coco_set(tmp_path / "more", 3, seed=9)
    watch(filled, f'inbox = ["{coco.parent}/images"]')
    done = run(filled)
    assert done.returncode == 1
    assert "no model yet" in done.stderr
    assert filled.store.count("SELECT count(*) FROM images WHERE role = 'pool'") == 9


def test_a_monitor_without_an_inbox_says_so(watched: Workspace) -> None:
    watch(watched, "inbox = []")
    done = run(watched)
    assert done.returncode == 0
    assert "note: there is no inbox" in done.stdout
    assert "below [monitor]: inbox = [" in done.stdout
    machine = run(watched, "--json")
    json.loads(machine.stdout)  # nothing but JSON
    assert "note: there is no inbox" in machine.stderr
