"""The real Blender, from recipe to dataset: determinism, kills, faces, flaws, failures."""

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from support.small_datasets import THREE_VIEWS, files

from render import BlenderMissingError, RenderOptions, load_assets, parse_recipe, plan, render_dataset
from render.annotation.masks import decode
from render.annotation.record_store import open_dataset, read_record
from render.dataset.reproduce import reproduce_image
from render.dataset.validate import validate
from render.execution.jobs import Job
from render.execution.rendering import render_jobs

pytestmark = pytest.mark.render

TINY = parse_recipe(
    tomllib.loads("""
        name = "tiny"
        image = { width = 96, height = 96 }
        quality = { samples = 2, bounces = 1 }
        light.sky.choice = ["city", "studio", "forest", "night"]
        stage.kind.choice = ["table", "tray"]
        distractors.count = 1
        defects = { clean = 0.3, kinds = [{ kind = "dent" }, { kind = "scratch" }] }
        [[parts]]
        name = "die"
        shape = "die"
        label = "state"
        count = 4
        size_m = 0.03
        materials = [{ random = 0.5 }]
    """)
)
COUNT = 3


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed")
    told = []
    coco = render_dataset(
        TINY,
        out,
        COUNT,
        5,
        RenderOptions(threads=2),
        on_progress=lambda done, total: told.append((done, total)),
    )
    assert coco == out / "annotations.json"
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]
    return out


# ---- determinism -----------------------------------------------------------------------------------------


def test_a_dataset_is_whole(undisturbed):
    coco = json.loads((undisturbed / "annotations.json").read_text())
    assert [i["file_name"] for i in coco["images"]] == ["000000.jpg", "000001.jpg", "000002.jpg"]
    assert len(coco["annotations"]) >= 6
    for image in coco["images"]:
        picture = cv2.imread(str(undisturbed / "images" / image["file_name"]))
        assert picture.shape == (96, 96, 3)
        assert picture.std() > 10
    for a in coco["annotations"]:
        x, y, w, h = a["bbox"]
        assert 0 <= x < x + w <= 96
        assert 0 <= y < y + h <= 96
        assert w * h >= a["area"] >= 24


def test_killed_in_the_middle_and_resumed_it_is_the_same_dataset(undisturbed, tmp_path):
    """Kill -9 of the parent, whose worker must die with it; then resumed with another number of threads."""
    recipe, out = tmp_path / "tiny.json", tmp_path / "out"
    recipe.write_bytes(msgspec.json.encode(TINY))
    code = (
        "import sys, pathlib, json; from render import RenderOptions, parse_recipe, render_dataset;"
        f"render_dataset(parse_recipe(json.loads(pathlib.Path({str(recipe)!r}).read_text())),"
        f" pathlib.Path({str(out)!r}), {COUNT}, 5, RenderOptions(threads=2))"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[3])
    wait_for((out / "records" / "000000.json").exists)
    (worker,) = children(parent.pid)
    parent.kill()
    parent.wait()
    wait_for(lambda: not running(worker))
    assert not (out / "annotations.json").exists()
    render_dataset(TINY, out, COUNT, 5, RenderOptions(threads=1))
    assert files(out) == files(undisturbed)


def test_an_image_does_not_depend_on_those_before_it(undisturbed, tmp_path):
    # The sky must have changed before it: that is what persistent data stumbled over.
    assert scene(TINY, 5, 0).light.sky != scene(TINY, 5, COUNT - 1).light.sky
    render_one(tmp_path, TINY, 5, COUNT - 1)
    name = f"images/{COUNT - 1:06d}.jpg"
    assert (tmp_path / name).read_bytes() == (undisturbed / name).read_bytes()


def test_a_finished_dataset_starts_no_worker(undisturbed):
    before = files(undisturbed)
    render_dataset(TINY, undisturbed, COUNT, 5, RenderOptions(python="/nowhere/python"))
    assert files(undisturbed) == before


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="finds the worker through /proc")
def test_a_worker_killed_from_outside_costs_nothing(tmp_path):
    """The worker of image 0 is killed; two workers, and a reproduced image, give the same bytes."""
    small = msgspec.structs.replace(
        THREE_VIEWS,
        image=msgspec.structs.replace(THREE_VIEWS.image, width=64, height=64),
        quality=msgspec.structs.replace(THREE_VIEWS.quality, samples=1, denoise="off"),
        labels=msgspec.structs.replace(THREE_VIEWS.labels, min_visible_px=1, min_visible_fraction=0.0),
    )
    killed = []

    def kill(done, total):
        if done == 3 and not killed:
            killed.extend(pid for pid in children(os.getpid()) if runs_the_worker(pid))
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    render_dataset(small, tmp_path / "killed", 8, 2, on_progress=kill)
    assert len(killed) == 1
    render_dataset(small, tmp_path / "whole", 8, 2, RenderOptions(workers=2))
    assert files(tmp_path / "killed") == files(tmp_path / "whole")
    assert validate(tmp_path / "whole").problems == ()
    assert validate(tmp_path / "whole").images == 8
    assert reproduce_image(tmp_path / "whole", 4).differences == ()


def runs_the_worker(pid):
    return b"render.worker.main" in Path(f"/proc/{pid}/cmdline").read_bytes()


# ---- what the labels say ---------------------------------------------------------------------------------


def scene(recipe, seed, index):
    return plan(recipe, load_assets(recipe, Path("/nowhere")), seed, index)


def render_one(out, recipe, seed, index):
    """Render one scene's first view; its record."""
    open_dataset(out, recipe, seed)
    job = Job(scene(recipe, seed, index), (index,))
    render_jobs([job], out, RenderOptions(threads=2), print)
    return read_record(out, index)


def test_the_class_is_the_number_of_pips_that_can_be_counted(tmp_path):
    """From far away no side shows: the dark blobs inside a box are the upper face's pips."""
    recipe = parse_recipe(
        tomllib.loads("""
            name = "count"
            image = { width = 192, height = 192, format = "png" }
            quality.samples = 4
            cameras = [{ view_m = 0.15, focal_mm = 1900 }]
            stage = { value = 0.5, grain = 0 }
            light = { rotation_deg = 0, lamps = [] }
            sensor = { noise = 0, vignette = 0, blur_px = 0, exposure = 0.5 }
            [[parts]]
            name = "die"
            shape = "die"
            label = "state"
            count = 9
            size_m = 0.03
            materials = [{ colours = ["#f0f0f0"], accent = "#080808", roughness = 0.9 }]
        """)
    )
    record = render_one(tmp_path, recipe, 1, 0)
    picture = cv2.imread(str(tmp_path / "images" / record.file_name), cv2.IMREAD_GRAYSCALE)
    names = ["one", "two", "three", "four", "five", "six"]
    assert len(record.annotations) >= 5
    for found in record.annotations:
        if found.truncation > 0.01:
            continue
        x, y, w, h = found.bbox
        inside = np.zeros_like(picture)
        cv2.circle(inside, (x + w // 2, y + h // 2), int(0.03 / 0.15 * 192 * 0.45), 255, -1)
        _, _, stats, _ = cv2.connectedComponentsWithStats(((picture < 70) & (inside > 0)).astype(np.uint8))
        assert np.count_nonzero(stats[1:, cv2.CC_STAT_AREA] > 4) == names.index(found.category) + 1


def test_a_flaw_is_labelled_where_it_shows(tmp_path):
    """Black paint on a white sheet: its mask is the dark pixels, its box is the mask's."""
    recipe = parse_recipe(
        tomllib.loads("""
            name = "mark"
            image = { width = 160, height = 120, format = "png" }
            quality.samples = 8
            labels = { parts = false, masks = "rle" }
            layout.mode = "fixed"
            cameras = [{ view_m = 0.3 }]
            light.lamps = []
            stage.kind = "none"
            sensor = { noise = 0, vignette = 0, blur_px = 0 }
            [[parts]]
            name = "sheet"
            shape = "sheet"
            label = "none"
            size_m = 0.5
            yaw_deg = 0
            materials = [{ colours = ["#f0f0f0"], roughness = 0.9 }]
            [[defects.kinds]]
            kind = "mark"
            size_m = 0.08
            cover = 1.0
            softness = 0.05
            values.grain = 0
            material = { kind = "paint", colours = ["#000000"], roughness = 0.9 }
        """)
    )
    record = render_one(tmp_path, recipe, 3, 0)
    (found,) = record.annotations
    assert found.category == "mark"
    mask = decode(found.rle, 120, 160)
    picture = cv2.imread(str(tmp_path / "images" / record.file_name), cv2.IMREAD_GRAYSCALE)
    dark = picture < 110
    both, either = (mask & dark).sum(), (mask | dark).sum()
    assert both / either > 0.9
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    x, y, w, h = found.bbox
    assert (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1) == (x, y, x + w, y + h)
    assert 0.6 * 0.08 / 0.3 * 160 <= max(w, h) <= 1.1 * 0.08 / 0.3 * 160


# ---- failures --------------------------------------------------------------------------------------------


def test_a_python_without_bpy_is_told_how_to_get_it(tmp_path):
    (tmp_path / "bpy.py").write_text("raise ImportError('no Blender here')")
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    with pytest.raises(BlenderMissingError) as error:
        render_dataset(TINY, tmp_path / "out", 1, 0, RenderOptions(python=str(python)))
    for words in ("no Blender here", "python3.11 -m pip install", "--python", str(python)):
        assert words in str(error.value)


def wait_for(condition, timeout_s=60.0):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def children(pid):
    """Of any of its threads."""
    return [int(p) for task in Path(f"/proc/{pid}/task").glob("*/children") for p in task.read_text().split()]


def running(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
