"""Whole datasets, by a stand-in for Blender: resuming, killing, checking, making again."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from support.fake_worker import FakeRenderWorker
from support.small_datasets import RECIPE, THREE_VIEWS, files

from render import BlenderMissingError, DatasetError, RenderOptions, WorkerError, render_dataset
from render.annotation.record_store import open_dataset
from render.dataset.generate import _locked
from render.dataset.validate import validate

ROOT = Path(__file__).parents[3]


def test_a_dataset_is_rendered_and_merged(tmp_path, stand_in):
    told = []
    tell = lambda *x: told.append(x)  # noqa: E731
    coco = render_dataset(
        RECIPE, tmp_path / "out", 3, 5, RenderOptions(python=stand_in.path), on_progress=tell
    )
    assert coco == tmp_path / "out" / "annotations.json"
    data = json.loads(coco.read_text())
    assert [image["file_name"] for image in data["images"]] == ["000000.jpg", "000001.jpg", "000002.jpg"]
    assert data["categories"] == [{"id": 1, "name": "cube"}]
    assert len(data["annotations"]) == 3
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]


@pytest.mark.integration
def test_called_again_it_asks_for_nothing_and_with_more_for_the_rest(tmp_path, stand_in):
    render_dataset(RECIPE, tmp_path / "out", 2, 5, RenderOptions(python=stand_in.path))
    render_dataset(RECIPE, tmp_path / "out", 2, 5, RenderOptions(python=stand_in.path))
    assert [request.images for request in stand_in.requests] == [(0,), (1,)]
    render_dataset(RECIPE, tmp_path / "out", 3, 5, RenderOptions(python=stand_in.path))
    assert [request.images for request in stand_in.requests] == [(0,), (1,), (2,)]


@pytest.mark.integration
def test_of_a_scene_of_several_views_only_those_wanted_are_rendered(tmp_path, stand_in):
    render_dataset(THREE_VIEWS, tmp_path / "out", 4, 5, RenderOptions(python=stand_in.path))
    assert [(request.scene, request.images) for request in stand_in.requests] == [(0, (0, 1, 2)), (1, (3,))]
    render_dataset(THREE_VIEWS, tmp_path / "out", 6, 5, RenderOptions(python=stand_in.path))
    assert [(request.scene, request.images) for request in stand_in.requests][2:] == [(1, (4, 5))]


@pytest.mark.integration
def test_a_picture_that_was_damaged_is_made_again(tmp_path, stand_in):
    render_dataset(RECIPE, tmp_path / "out", 2, 5, RenderOptions(python=stand_in.path))
    whole = files(tmp_path / "out")
    (tmp_path / "out" / "images" / "000001.jpg").write_bytes(b"half a pic")
    (tmp_path / "out" / "records" / "000001.json").unlink()
    render_dataset(RECIPE, tmp_path / "out", 2, 5, RenderOptions(python=stand_in.path))
    assert files(tmp_path / "out") == whole


@pytest.mark.integration
def test_two_workers_make_the_same_bytes_as_one(tmp_path):
    one, two = FakeRenderWorker(tmp_path / "a"), FakeRenderWorker(tmp_path / "b")
    render_dataset(THREE_VIEWS, tmp_path / "one", 11, 5, RenderOptions(python=one.path))
    render_dataset(THREE_VIEWS, tmp_path / "two", 11, 5, RenderOptions(python=two.path, workers=2))
    assert files(tmp_path / "one") == files(tmp_path / "two")
    cores = len(os.sched_getaffinity(0))
    assert {request.threads for request in one.requests} == {cores}
    assert sum({request.pid: request.threads for request in two.requests}.values()) <= max(cores, 2)


def test_threads_are_handed_on(tmp_path, stand_in):
    render_dataset(RECIPE, tmp_path / "out", 1, 5, RenderOptions(python=stand_in.path, threads=7))
    assert [request.threads for request in stand_in.requests] == [7]


@pytest.mark.integration
def test_killed_and_run_again_it_gives_the_undisturbed_bytes(tmp_path):
    slow = FakeRenderWorker(tmp_path / "slow", "def behave(*_): time.sleep(0.15)")
    code = (
        "import sys; sys.path[:0] = sys.argv[3:]\n"
        "from support.small_datasets import THREE_VIEWS; from render import RenderOptions, render_dataset\n"
        "from pathlib import Path\n"
        "render_dataset(THREE_VIEWS, Path(sys.argv[1]), 12, 5, RenderOptions(python=sys.argv[2]))"
    )
    arguments = [str(tmp_path / "out"), slow.path, str(ROOT / "tests"), str(ROOT)]
    running = subprocess.Popen([sys.executable, "-c", code, *arguments], stderr=subprocess.PIPE)
    records = tmp_path / "out" / "records"
    deadline = time.monotonic() + 60
    while not list(records.glob("*.json")) and time.monotonic() < deadline and running.poll() is None:
        time.sleep(0.02)
    time.sleep(0.3)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    assert 0 < len(list(records.glob("*.json"))) <= 12
    _wait_until_gone({request.pid for request in slow.requests})
    render_dataset(
        THREE_VIEWS, tmp_path / "out", 12, 5, RenderOptions(python=FakeRenderWorker(tmp_path / "rest").path)
    )
    whole = tmp_path / "whole" / "out"
    whole.parent.mkdir()
    render_dataset(THREE_VIEWS, whole, 12, 5, RenderOptions(python=FakeRenderWorker(tmp_path / "other").path))
    assert files(tmp_path / "out") == files(whole)


def _wait_until_gone(pids):
    """A worker ends with its parent, after the picture in hand."""
    end = time.monotonic() + 20
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            while True:
                os.kill(pid, 0)
                assert time.monotonic() < end, f"worker {pid} outlives its parent"
                time.sleep(0.05)


def test_a_python_without_what_the_worker_needs_says_how_to_get_it(tmp_path):
    python = tmp_path / "bare"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -c "import msgspec"\n')
    python.chmod(stat.S_IRWXU)
    with pytest.raises(BlenderMissingError, match=r"bare: ModuleNotFoundError.*msgspec.*pip install 'bpy"):
        render_dataset(RECIPE, tmp_path / "out", 1, 0, RenderOptions(python=str(python)))


def test_a_python_that_is_not_there_is_a_render_error(tmp_path):
    with pytest.raises(WorkerError, match=r"no-python.*--python"):
        render_dataset(RECIPE, tmp_path / "out", 1, 0, RenderOptions(python=str(tmp_path / "no-python")))


def test_two_renders_do_not_share_a_folder(tmp_path):
    open_dataset(tmp_path, RECIPE, 0)
    with _locked(tmp_path), pytest.raises(DatasetError, match="another render is writing"):
        render_dataset(RECIPE, tmp_path, 1, 0)


@pytest.mark.parametrize(("count", "seed"), [(0, 0), (-1, 0), (1, -1)])
def test_nonsense_counts_are_refused(tmp_path, count, seed):
    with pytest.raises(DatasetError, match="expected count >= 1 and seed >= 0"):
        render_dataset(RECIPE, tmp_path, count, seed)


@pytest.mark.parametrize("name", ["workers", "threads"])
def test_counts_below_one_are_refused(name):
    with pytest.raises(DatasetError, match=f"expected {name} >= 1, got 0"):
        RenderOptions(**{name: 0})


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that root cannot write either")
def test_a_read_only_folder_is_a_dataset_error():
    with pytest.raises(DatasetError, match=r"/proc/.*cannot be written"):
        render_dataset(RECIPE, Path("/proc/dataset"), 1, 0)


def test_a_lock_that_cannot_be_written_is_a_dataset_error(tmp_path):
    open_dataset(tmp_path, RECIPE, 0)
    (tmp_path / ".lock").mkdir()
    with pytest.raises(DatasetError, match=r"cannot be written.*choose another folder"):
        render_dataset(RECIPE, tmp_path, 1, 0)


@pytest.mark.integration
def test_a_full_disk_is_one_line_and_nothing_is_lost(tmp_path, stand_in):
    """A limit on the size of files stands for the disk: dataset.json fits in, annotations.json does not."""
    out = tmp_path / "out"
    render_dataset(RECIPE, out, 2, 5, RenderOptions(python=stand_in.path))
    size = (out / "dataset.json").stat().st_size
    recipe = tmp_path / "recipe.json"
    recipe.write_bytes(msgspec.json.encode(RECIPE))
    code = (
        "import resource, sys, json; from pathlib import Path; sys.path.insert(0, sys.argv[3])\n"
        "from render import parse_recipe, render_dataset, RenderError, RenderOptions\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({size + 200}, {size + 200}))\n"
        "recipe = parse_recipe(json.loads(Path(sys.argv[4]).read_bytes()))\n"
        "try: render_dataset(recipe, Path(sys.argv[1]), 40, 5, RenderOptions(python=sys.argv[2]))\n"
        "except RenderError as error: sys.exit(f'{type(error).__name__}: {error}')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(out), stand_in.path, str(ROOT), str(recipe)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "annotations.json: cannot be written" in done.stderr
    assert "make room and run again" in done.stderr
    assert done.stderr.startswith("DatasetError")
    render_dataset(RECIPE, out, 40, 5, RenderOptions(python=stand_in.path))
    assert validate(out).problems == ()
    assert len(stand_in.requests) == 40, "an image was rendered twice"
