"""Whole datasets, by a stand-in for Blender: resuming, killing, checking, making again."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
from support.fake_worker import FakeRenderWorker

from render import BlenderMissingError, DatasetError, RenderOptions, WorkerError, parse_recipe, render_dataset
from render.annotation import masks
from render.annotation.record_store import open_dataset, read_record
from render.dataset.generate import _locked
from render.dataset.reproduce import reproduce_image
from render.dataset.summary import summary
from render.dataset.validate import validate

RECIPE = parse_recipe(
    {
        "name": "x",
        "parts": [{"name": "cube", "shape": "box", "size_m": 0.02}],
        "image": {"width": 96, "height": 64},
        "labels": {"masks": "rle"},
    }
)
THREE_VIEWS = msgspec.structs.replace(RECIPE, layout=msgspec.structs.replace(RECIPE.layout, views=3))
ROOT = Path(__file__).parents[3]


@pytest.fixture
def stand_in(tmp_path):
    return FakeRenderWorker(tmp_path / "stand-in")


def files(out):
    """Everything that a dataset consists of; not the log, which says when what happened."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name not in ("render.log", ".lock") and path.suffix != ".partial"
    }


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
        "import sys; sys.path.insert(0, sys.argv[3]); sys.path.insert(0, sys.argv[4])\n"
        "from test_generate import THREE_VIEWS; from render import RenderOptions, render_dataset\n"
        "from pathlib import Path\n"
        "render_dataset(THREE_VIEWS, Path(sys.argv[1]), 12, 5, RenderOptions(python=sys.argv[2]))"
    )
    arguments = [str(tmp_path / "out"), slow.path, str(ROOT / "tests"), str(Path(__file__).parent)]
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
    assert _without_root(files(tmp_path / "out")) == _without_root(files(whole))


def _without_root(found):
    """root.txt says where the recipe lies as seen from the folder, which is another one here."""
    return {name: data for name, data in found.items() if name != "root.txt"}


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


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rendered")
    render_dataset(
        RECIPE, folder / "out", 3, 5, RenderOptions(python=FakeRenderWorker(folder / "stand-in").path)
    )
    return folder / "out"


@pytest.fixture
def dataset(tmp_path, rendered):
    """A copy to damage."""
    return Path(shutil.copytree(rendered, tmp_path / "out"))


def test_a_sound_dataset_has_no_problems(dataset):
    verdict = validate(dataset)
    assert verdict.problems == ()
    assert (verdict.images, verdict.annotations, verdict.skipped, verdict.failed) == (3, 3, 0, 0)


def _edit_record(out, change):
    path = out / "records" / "000001.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def _append(path):
    path.write_bytes(path.read_bytes() + b"x")


EMPTY = masks.encode(np.zeros((64, 96), bool))
DAMAGES = {
    "image 1 is missing": lambda out: (out / "records" / "000001.json").unlink(),
    "records/000001.json cannot be read": lambda out: (out / "records" / "000001.json").write_text("{"),
    "images/000001.jpg is missing": lambda out: (out / "images" / "000001.jpg").unlink(),
    "its hash is not the record's": lambda out: _append(out / "images" / "000001.jpg"),
    "is no picture": lambda out: (out / "images" / "000001.jpg").write_text("x"),
    "images/extra.jpg belongs to no record": lambda out: (out / "images" / "extra.jpg").write_text("x"),
    "expected 97 x 64 px, got 96 x 64": lambda out: _edit_record(out, lambda r: r.update(width=97)),
    "of seed 6; expected 5": lambda out: _edit_record(out, lambda r: r.update(seed=6)),
    "its record says it is image 2": lambda out: _edit_record(out, lambda r: r.update(index=2)),
    "the recipe has no such category": lambda out: _edit_record(
        out, lambda r: r["annotations"][0].update(category="ball")
    ),
    "is not inside 96 x 64 px": lambda out: _edit_record(
        out, lambda r: r["annotations"][0].update(bbox=[90, 3, 11, 8])
    ),
    "area 999 does not fit": lambda out: _edit_record(out, lambda r: r["annotations"][0].update(area=999)),
    "visible_fraction 1.5": lambda out: _edit_record(
        out, lambda r: r["annotations"][0].update(visible_fraction=1.5)
    ),
    "its mask's box is [10, 7, 11, 8], its own [11, 7, 11, 8]": lambda out: _edit_record(
        out, lambda r: r["annotations"][0].update(bbox=[11, 7, 11, 8])
    ),
    "its mask has 88 px, its area says 87": lambda out: _edit_record(
        out, lambda r: r["annotations"][0].update(area=87)
    ),
    "its mask cannot be decoded": lambda out: _edit_record(
        out, lambda r: r["annotations"][0].update(polygons=[[1.0, 2.0]])
    ),
    "its polygon's box is [0, 0, 9, 9], its own [10, 7, 11, 8]": lambda out: _edit_record(
        out, lambda r: r["annotations"][0].update(polygons=[[0.0, 0.0, 9.0, 0.0, 9.0, 9.0, 0.0, 9.0]])
    ),
    "other categories than the recipe": lambda out: _edit_coco(out, lambda c: c["categories"].pop()),
    "its mask is empty": lambda out: _edit_record(out, lambda r: r["annotations"][0].update(rle=EMPTY)),
    "it is failed, but has a picture": lambda out: _edit_record(out, lambda r: r.update(status="failed")),
    "annotations.json is missing": lambda out: (out / "annotations.json").unlink(),
    "annotations.json is no COCO file": lambda out: (out / "annotations.json").write_text("[]"),
    "annotations.json lists other images (2) than the records (3)": lambda out: _edit_coco(
        out, lambda c: c["images"].pop()
    ),
    "image 2: annotations.json has other labels": lambda out: _edit_coco(
        out, lambda c: c["annotations"][2].update(bbox=[0, 0, 5, 5])
    ),
}


def _edit_coco(out, change):
    path = out / "annotations.json"
    coco = json.loads(path.read_text())
    change(coco)
    path.write_text(json.dumps(coco))


@pytest.mark.parametrize("problem", DAMAGES)
def test_every_damage_is_found(dataset, problem):
    DAMAGES[problem](dataset)
    found = validate(dataset).problems
    assert any(problem in sentence for sentence in found), found


def test_what_is_no_dataset_cannot_be_validated(tmp_path):
    with pytest.raises(DatasetError, match=r"no dataset\.json"):
        validate(tmp_path)


def test_an_image_made_again_is_the_same(dataset, stand_in):
    result = reproduce_image(dataset, 1, RenderOptions(python=stand_in.path))
    assert result.differences == ()
    assert result.sha256 == read_record(dataset, 1).sha256
    assert stand_in.requests[-1].images == (1,)


@pytest.mark.integration
def test_an_image_made_again_shows_how_it_differs(dataset, tmp_path):
    darker = FakeRenderWorker(
        tmp_path / "darker", "def behave(*_):\n  Image.Image.paste = lambda *a: None  # no rectangle"
    )
    keep = tmp_path / "made.jpg"
    result = reproduce_image(dataset, 1, RenderOptions(python=darker.path), keep=keep)
    assert len(result.differences) == 1
    assert "the image differs in" in result.differences[0]
    assert keep.read_bytes() != (dataset / "images" / "000001.jpg").read_bytes()
    _edit_record(dataset, lambda r: r["annotations"][0].update(area=87))
    result = reproduce_image(dataset, 1, RenderOptions(python=darker.path))
    assert "label 0: area was 87, is 88" in result.differences


def test_an_image_that_is_not_there_cannot_be_made_again(dataset):
    with pytest.raises(DatasetError, match=r"no image 3.*--count 4"):
        reproduce_image(dataset, 3)


@pytest.mark.integration
def test_the_summary_counts_and_says_what_to_do(tmp_path):
    behave = """
    def behave(scene, spec, images):
        if scene == 1: os._exit(1)
        if scene == 2: skip(spec, images[0], "nothing to see")
    """
    render_dataset(
        RECIPE,
        tmp_path / "out",
        4,
        5,
        RenderOptions(python=FakeRenderWorker(tmp_path / "stand-in", behave).path),
    )
    lines = summary(tmp_path / "out", 4)
    assert lines[0] == "2 images with 2 labels"
    assert lines[1] == "1 views skipped before rendering: 1 × nothing to see"
    assert lines[2].startswith("1 images failed and were left out, the last: ended with exit status 1")
    assert lines[2].endswith("to try them again remove records/000001.json")
    assert validate(tmp_path / "out").problems == ()


def test_the_summary_warns_of_a_scale_that_cannot_be_meant(tmp_path, stand_in):
    """A label of 10 x 8 px in 400 x 300 px is 0.07 % of the picture."""
    large = msgspec.structs.replace(
        RECIPE, image=msgspec.structs.replace(RECIPE.image, width=400, height=300)
    )
    render_dataset(large, tmp_path / "out", 1, 5, RenderOptions(python=stand_in.path))
    assert any(
        "less than 0.07% of their picture; check units" in line for line in summary(tmp_path / "out", 1)
    )


@pytest.mark.render
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="finds the worker through /proc")
def test_blender_killed_from_outside_costs_nothing(tmp_path):
    """The worker of image 0 is killed; two workers, and a reproduced image, give the same bytes."""
    small = msgspec.structs.replace(
        THREE_VIEWS,
        image=msgspec.structs.replace(RECIPE.image, width=64, height=64),
        quality=msgspec.structs.replace(RECIPE.quality, samples=1, denoise="off"),
        labels=msgspec.structs.replace(RECIPE.labels, min_visible_px=1, min_visible_fraction=0.0),
    )
    killed = []

    def kill(done, total):
        if done == 3 and not killed:
            killed.extend(_workers_of(os.getpid()))
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    render_dataset(small, tmp_path / "killed", 8, 2, on_progress=kill)
    assert len(killed) == 1
    render_dataset(small, tmp_path / "whole", 8, 2, RenderOptions(workers=2))
    assert files(tmp_path / "killed") == files(tmp_path / "whole")
    assert validate(tmp_path / "whole").problems == ()
    assert validate(tmp_path / "whole").images == 8
    assert reproduce_image(tmp_path / "whole", 4).differences == ()


def _workers_of(parent):
    """Processes started by us, from any thread, that run the worker."""
    children = Path(f"/proc/{parent}/task").glob("*/children")
    pids = {int(pid) for file in children for pid in file.read_text().split()}
    return [pid for pid in pids if b"render.worker.main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
