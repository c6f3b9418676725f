"""The real Blender, on small pictures: boxes against arithmetic, faces, determinism, kills."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from render import BlenderMissingError, parse_recipe, plan, render_dataset
from render.die import rotation
from render.pool import Worker, render_all, worker_command
from render.spec import CameraSpec, DieSpec, LightSpec, SurfaceSpec, ThingSpec
from render.writers import open_dataset, read_record

pytestmark = pytest.mark.render

TINY = parse_recipe(
    {
        "name": "tiny",
        "image": {"width": 96, "height": 96},
        "quality": {"samples": 2, "bounces": 1},
        "dice": {"count": 4, "edge_m": 0.03, "random_finish": 0.5},
        "light": {"hdri": {"choice": ["city", "studio", "forest", "night"]}, "lamps": 1},
        "surface": {"kind": {"choice": ["table", "tray"]}},
        "distractors": {"count": 1},
    }
)
COUNT = 3


def files(out):
    """Every file of the dataset but the log and the lock."""
    paths = (p for p in out.rglob("*") if p.is_file() and p.name not in (".lock", "render.log"))
    return {str(p.relative_to(out)): p.read_bytes() for p in paths}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed")
    told = []
    coco = render_dataset(
        TINY, out, COUNT, 5, threads=2, on_progress=lambda done, total: told.append((done, total))
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
        "import sys, pathlib, json; from render import parse_recipe, render_dataset;"
        f"render_dataset(parse_recipe(json.loads(pathlib.Path({str(recipe)!r}).read_text())),"
        f" pathlib.Path({str(out)!r}), {COUNT}, 5, threads=2)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2])
    wait_for((out / "records" / "000000.json").exists)
    (worker,) = children(parent.pid)
    parent.kill()
    parent.wait()
    wait_for(lambda: not running(worker))
    assert not (out / "annotations.json").exists()
    render_dataset(TINY, out, COUNT, 5, threads=1)
    assert files(out) == files(undisturbed)


def test_an_image_does_not_depend_on_those_before_it(undisturbed, tmp_path):
    # The sky must have changed before it: that is what persistent data stumbled over.
    assert plan(TINY, 5, 0).light.hdri != plan(TINY, 5, COUNT - 1).light.hdri
    open_dataset(tmp_path, TINY, 5)
    last = plan(TINY, 5, COUNT - 1)
    render_all(
        [last], partial(Worker, worker_command(None), tmp_path, 2), tmp_path, timeout_s=60, on_done=print
    )
    name = f"images/{COUNT - 1:06d}.jpg"
    assert (tmp_path / name).read_bytes() == (undisturbed / name).read_bytes()


def test_a_finished_dataset_starts_no_worker(undisturbed):
    before = files(undisturbed)
    render_dataset(TINY, undisturbed, COUNT, 5, python="/nowhere/python")
    assert files(undisturbed) == before


def test_a_worker_killed_from_outside_is_replaced(undisturbed, tmp_path):
    open_dataset(tmp_path, TINY, 5)
    pids = []

    def start():
        worker = Worker(worker_command(None), tmp_path, 2)
        pids.append(worker._process.pid)
        return worker

    def kill_once(index):
        if index == 0:
            os.kill(pids[0], signal.SIGKILL)

    specs = [plan(TINY, 5, index) for index in range(2)]
    render_all(specs, start, tmp_path, timeout_s=60, on_done=kill_once)
    assert len(pids) == 2
    assert not any(running(pid) for pid in pids)
    for name in ("images/000000.jpg", "images/000001.jpg", "records/000001.json"):
        assert (tmp_path / name).read_bytes() == (undisturbed / name).read_bytes()


# ---- labels against arithmetic ---------------------------------------------------------------------------

GREY, WHITE, BLACK = (0.3, 0.3, 0.3), (0.9, 0.9, 0.9), (0.005, 0.005, 0.005)
#: Straight down onto the origin from 0.4 m; 192 px wide; a die edge of 20 mm is 18 px at table height.
DOWN = CameraSpec((0.0, 0.0, 0.0), 0.4, 0.0, -math.pi / 2, 0.0, 67.5)
FOCAL_PX = 67.5 / 36 * 192
SIDE = 192


def die(x, y, top, yaw=0.0, edge=0.02):
    turn = tuple(rotation(top, yaw).ravel().tolist())
    return DieSpec((0.02, 1.8, 0.1, 0.04), edge, (x, y, edge / 2), turn, WHITE, WHITE, BLACK, 0, 0, 0, 0.9)


def render_one(out, dice, things=(), camera=DOWN):
    """The picture (h, w) in grey and the record of a hand-made scene."""
    recipe = parse_recipe({"name": "hand", "image": {"width": SIDE, "height": SIDE, "format": "png"}})
    spec = msgspec.structs.replace(
        plan(recipe, 0, 0),
        dice=tuple(dice),
        things=tuple(things),
        camera=camera,
        samples=4,
        light=LightSpec("studio", 1.0, 0.0, ()),
        surface=SurfaceSpec("plain", GREY, GREY, 0.9, 0.0, 0.01, 0.0, None),
        sensor=msgspec.structs.replace(
            plan(recipe, 0, 0).sensor, blur_px=0.0, noise=0.0, vignette=0.0, exposure=0.5
        ),
    )
    open_dataset(out, recipe, 0)
    render_all([spec], partial(Worker, worker_command(None), out, 2), out, timeout_s=60, on_done=print)
    record = read_record(out, 0)
    return cv2.imread(str(out / "images" / record.file_name), cv2.IMREAD_GRAYSCALE), record


def span(low, high, edge=0.02):
    """Extent of a die in px from the picture's middle; its top is nearer than its foot."""
    seen = [at * FOCAL_PX / (0.4 - z) for at in (low, high) for z in (0.0, edge)]
    return min(seen), max(seen)


def test_boxes_are_where_arithmetic_puts_them(tmp_path):
    places = [(0.0, 0.0), (0.06, 0.03), (-0.07, -0.055), (0.02, -0.08)]
    _, record = render_one(tmp_path, [die(x, y, 1) for x, y in places])
    assert [b.object_index for b in record.boxes] == [1, 2, 3, 4]
    for (px, py), box in zip(places, record.boxes, strict=True):
        left, right = span(px - 0.01, px + 0.01)
        down, up = span(py - 0.01, py + 0.01)
        x, y, w, h = box.bbox
        got = np.array([x, y, x + w, y + h])
        assert got == pytest.approx(np.array([96 + left, 96 - up, 96 + right, 96 - down]), abs=1.0)
        assert box.visible_fraction > 0.9  # 19 px wide: a pixel lost along two sides is a tenth


def test_an_occluder_over_half_a_die_leaves_half(tmp_path):
    # From far away with a long lens, so that perspective hides nothing more.
    far = CameraSpec((0.0, 0.0, 0.0), 8.0, 0.0, -math.pi / 2, 0.0, 36 * 8 / 0.1)
    roof = ThingSpec("box", (0.025, 0.0, 0.06), (0.05, 0.1, 0.01), 0.0, GREY, 0.5)
    _, record = render_one(tmp_path, [die(0.0, 0.0, 4, edge=0.04)], [roof], far)
    (box,) = record.boxes
    assert box.visible_fraction == pytest.approx(0.5, abs=0.02)
    assert box.bbox[0] + box.bbox[2] == pytest.approx(96, abs=1)


def test_a_die_cut_by_the_edge_of_the_picture_keeps_its_visible_half(tmp_path):
    far = CameraSpec((0.05, 0.0, 0.0), 8.0, 0.0, -math.pi / 2, 0.0, 36 * 8 / 0.1)
    _, record = render_one(tmp_path, [die(0.0, 0.0, 4, edge=0.04)], (), far)
    (box,) = record.boxes
    assert box.bbox[0] == 0
    assert box.visible_fraction == pytest.approx(0.5, abs=0.02)


def test_the_class_is_the_number_of_pips_that_can_be_counted(tmp_path):
    # From 8 m no side shows: the dark blobs inside a box are the upper face's pips.
    far = CameraSpec((0.0, 0.0, 0.0), 8.0, 0.0, -math.pi / 2, 0.0, 36 * 8 / 0.14)
    places = [(x, y) for y in (0.03, -0.03) for x in (-0.045, 0.0, 0.045)]
    dice = [die(x, y, top, 0.4 * top, edge=0.03) for top, (x, y) in enumerate(places, start=1)]
    picture, record = render_one(tmp_path, dice, (), far)
    assert [b.category_id for b in record.boxes] == [1, 2, 3, 4, 5, 6]
    for box in record.boxes:
        x, y, w, h = box.bbox
        inside = cv2.getRectSubPix(picture, (int(w * 0.62), int(h * 0.62)), (x + w / 2, y + h / 2))
        blobs = cv2.connectedComponents((inside < 60).astype(np.uint8))[0] - 1
        assert blobs == box.category_id


# ---- failures --------------------------------------------------------------------------------------------


def test_a_python_without_bpy_is_told_how_to_get_it(tmp_path):
    (tmp_path / "bpy.py").write_text("raise ImportError('no Blender here')")
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    with pytest.raises(BlenderMissingError) as error:
        render_dataset(TINY, tmp_path / "out", 1, 0, python=str(python))
    for words in ("no Blender here", "python3.11 -m pip install", "--python", str(python)):
        assert words in str(error.value)


def test_the_command_line_renders_and_refuses(tmp_path):
    root = Path(__file__).parents[2]
    (tmp_path / "r.toml").write_text('name = "r"\n[image]\nwidth = 64\nheight = 64\n[quality]\nsamples = 1\n')
    command = [
        sys.executable,
        "-m",
        "render",
        str(tmp_path / "r.toml"),
        "--count",
        "1",
        "--out",
        str(tmp_path / "out"),
    ]
    first = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert "annotations.json: 1 images" in first.stdout
    again = subprocess.run([*command, "--seed", "3"], cwd=root, capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert "seed: was 0, now 3" in again.stderr
    assert "Traceback" not in again.stderr


def wait_for(condition, timeout_s=60.0):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def children(pid):
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def running(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
