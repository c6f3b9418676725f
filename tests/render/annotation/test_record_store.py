import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from render import DatasetError, parse_recipe
from render.annotation.annotate import Annotation
from render.annotation.masks import encode, polygons
from render.annotation.record_store import (
    Record,
    commit,
    is_done,
    merge,
    open_dataset,
    read_identity,
    read_record,
    read_records,
    write_masks,
    write_yolo,
)

TABLE = {"name": "x", "parts": [{"name": "die", "shape": "die"}, {"name": "bolt", "shape": "bolt"}]}
RECIPE = parse_recipe(TABLE)
SIDE = 32


def thing(category, x, y, w, h, kind="none", **more):
    """A rectangle, with or without its mask."""
    mask = np.zeros((SIDE, SIDE), bool)
    mask[y : y + h, x : x + w] = True
    if kind != "none":
        more["rle"] = encode(mask)
    if kind == "polygon":
        more["polygons"] = polygons(mask)
    more.setdefault("object_index", 1)
    return Annotation(category, (x, y, w, h), w * h, 0.75, 0.25, (x - 1.0, y - 1.0, w + 2.0, h + 2.0), **more)


def record(index, *annotations, status="done", **more):
    return Record(index, index // 2, index % 2, 0, status, SIDE, SIDE, annotations=annotations, **more)


def fill(out, index, *annotations, picture=b"\x89PNG picture"):
    return commit(out, record(index, *annotations), picture + str(index).encode())


@pytest.fixture
def out(tmp_path):
    open_dataset(tmp_path / "data", RECIPE, 0, "assets")
    return tmp_path / "data"


# ---- merging ---------------------------------------------------------------------------------------------


def test_coco_is_the_merge_of_the_records_in_order(out):
    fill(out, 2, thing("bolt", 1, 2, 3, 4, object_index=7, instance=3), thing("die", 5, 6, 7, 8))
    fill(out, 0, thing("die", 0, 0, 4, 4, state={"state": "six"}, flaw=2, component="lid"))
    commit(out, record(1, status="failed", reason="boom"), None)
    fill(out, 4)
    coco = json.loads(merge(out, 4).read_text())
    assert coco["images"] == [
        {"id": 1, "file_name": "000000.png", "width": SIDE, "height": SIDE},
        {"id": 3, "file_name": "000002.png", "width": SIDE, "height": SIDE},
    ]
    assert coco["categories"] == [{"id": 1, "name": "die"}, {"id": 2, "name": "bolt"}]
    first, second, third = coco["annotations"]
    assert first == {
        "id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 4, 4], "visible_bbox": [0, 0, 4, 4],
        "area": 16,
        "iscrowd": 0, "visible_fraction": 0.75, "truncation": 0.25, "amodal_bbox": [-1, -1, 6, 6],
        "object_index": 1, "state": {"state": "six"}, "flaw": 2, "component": "lid",
    }  # fmt: skip
    assert [second[k] for k in ("id", "image_id", "category_id", "bbox", "object_index", "instance")] == [
        2, 3, 2, [1, 2, 3, 4], 7, 3,
    ]  # fmt: skip
    assert [third[k] for k in ("id", "image_id", "category_id", "bbox")] == [3, 3, 1, [5, 6, 7, 8]]


def test_a_margin_loosens_boxes_as_far_as_the_picture_reaches(tmp_path):
    open_dataset(tmp_path, other(labels={"margin": 0.1}), 0)
    fill(tmp_path, 0, thing("die", 10, 1, 10, 20))
    (one,) = json.loads(merge(tmp_path, 1).read_text())["annotations"]
    assert one["bbox"] == [9, 0, 12, 23]
    assert one["visible_bbox"] == [10, 1, 10, 20]
    write_yolo(tmp_path)
    line = (tmp_path / "labels" / "000000.txt").read_text().split()
    assert [float(v) * SIDE for v in line[1:]] == pytest.approx([15, 11.5, 12, 23], abs=1e-3)


def test_a_category_the_recipe_does_not_know_is_refused(out):
    fill(out, 0, thing("nut", 0, 0, 4, 4))
    with pytest.raises(DatasetError, match=r"image 0 has the category 'nut'; expected one of die, bolt"):
        merge(out, 1)


def test_failed_and_skipped_images_are_told_with_their_reason(out):
    commit(out, record(0, status="failed", reason="boom"), None)
    commit(out, record(1, status="skipped", reason="nothing to see"), None)
    fill(out, 2)
    told = [(r.index, r.scene, r.view, r.status, r.reason) for r in read_records(out, 9)]
    assert told[:2] == [(0, 0, 0, "failed", "boom"), (1, 0, 1, "skipped", "nothing to see")]
    assert [i["id"] for i in json.loads(merge(out, 9).read_text())["images"]] == [3]


def test_an_image_without_labels_stays(out):
    fill(out, 0)
    assert len(json.loads(merge(out, 1).read_text())["images"]) == 1


@pytest.mark.parametrize("kind", ["rle", "polygon"])
def test_pycocotools_reads_boxes_and_masks(out, kind):
    fill(out, 0, thing("die", 3, 4, 10, 6, kind))
    coco = COCO(str(merge(out, 1)))
    (one,) = coco.loadAnns(coco.getAnnIds())
    mask = coco.annToMask(one)
    assert mask.sum() == one["area"] == 60
    assert mask[4:10, 3:13].all()


# ---- committing ------------------------------------------------------------------------------------------


def test_done_means_committed_whole(out):
    fill(out, 0)
    assert is_done(out, 0)
    assert not is_done(out, 1)
    # Killed between picture and record: not done.
    (out / "images" / "000001.png").write_bytes(b"half")
    assert not is_done(out, 1)
    (out / "images" / "000000.png").write_bytes(b"damaged")
    assert not is_done(out, 0)
    (out / "records" / "000000.json").write_text('{"index": 0, "se')
    assert not is_done(out, 0)
    for index, status in ((2, "failed"), (3, "skipped")):
        commit(out, record(index, status=status, reason="-"), None)
        assert is_done(out, index)


def test_a_record_comes_back_as_it_was(out):
    given = fill(out, 3, thing("die", 1, 2, 3, 4, "polygon", state={"a": "b"}), picture=b"\xff\xd8 jpeg")
    assert given.file_name == "000003.jpg"
    assert read_record(out, 3) == given
    assert read_record(out, 4) is None


def test_the_same_record_gives_the_same_bytes(out):
    state = {"legibility": "well", "face": "up"}
    fill(out, 0, thing("die", 1, 2, 3, 4, state=state))
    before = (out / "records" / "000000.json").read_bytes()
    fill(out, 0, thing("die", 1, 2, 3, 4, state=dict(reversed(state.items()))))
    assert (out / "records" / "000000.json").read_bytes() == before


def test_no_partial_file_is_left(out):
    fill(out, 0)
    merge(out, 1)
    assert not list(out.rglob("*.partial"))


def test_what_cannot_be_written_is_a_dataset_error(out):
    (out / "images").rmdir()
    with pytest.raises(DatasetError, match=r"000000\.png: cannot be written"):
        fill(out, 0)
    assert not is_done(out, 0)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_a_dataset_error(out):
    (out / "images" / "000000.png.partial").symlink_to("/dev/full")
    with pytest.raises(DatasetError, match=r"000000\.png: cannot be written .*; make room and run again"):
        fill(out, 0)
    assert not is_done(out, 0)


@pytest.mark.integration
def test_killed_while_committing_an_image_is_there_or_not(out):
    """Kill -9 at a random moment of a stream of commits, twice."""
    code = (
        "import itertools, pathlib, sys\n"
        "from render.annotation.record_store import Record, commit\n"
        f"out = pathlib.Path({str(out)!r})\n"
        "print('go', flush=True)\n"
        "for i in itertools.count():\n"
        "    index = i % 50\n"
        "    record = Record(index, 0, 0, 0, 'done', 32, 32, reason=str(i))\n"
        "    commit(out, record, b'\\x89PNG' + bytes([i % 251]) * 100_000)\n"
    )
    root = Path(__file__).parents[3]
    rng = np.random.default_rng(0)
    for kills in (1, 2):
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=root,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(root)},
        )
        process.stdout.readline()
        try:
            process.wait(0.3 + rng.uniform(0, 0.3))
        except subprocess.TimeoutExpired:
            process.kill()
        process.wait()
        process.stdout.close()
        records = [read_record(out, index) for index in range(50)]
        for index, one in enumerate(records):
            if one is None:
                assert not (out / "records" / f"{index:06d}.json").exists()
                continue
            # Only the image in hand when it was killed may be newer than its record, and then it is not done.
            picture = (out / "images" / one.file_name).read_bytes()
            assert len(picture) == 100_004
            assert len(set(picture[4:])) == 1
        # The next stream begins at 0 and may be killed before it comes to that image again.
        assert sum(one is not None and not is_done(out, i) for i, one in enumerate(records)) <= kills
        assert any(records)


# ---- identity --------------------------------------------------------------------------------------------


def test_the_same_dataset_opens_again(out):
    before = (out / "dataset.json").read_bytes()
    open_dataset(out, RECIPE, 0, "assets")
    assert (out / "dataset.json").read_bytes() == before
    identity = read_identity(out)
    assert (identity.recipe, identity.seed, identity.assets_sha256) == (RECIPE, 0, "assets")


def test_a_dataset_without_a_newer_key_of_recipes_opens_again(out):
    stored = json.loads((out / "dataset.json").read_text())
    del stored["recipe"]["labels"]["mirrored_classes"]
    (out / "dataset.json").write_text(json.dumps(stored))
    open_dataset(out, RECIPE, 0, "assets")
    with pytest.raises(DatasetError, match="mirrored_classes: was False, now True"):
        open_dataset(out, other(labels={"mirrored_classes": True}), 0, "assets")


def other(**changes):
    return parse_recipe(TABLE | changes)


@pytest.mark.parametrize(
    ("recipe", "seed", "assets", "said"),
    [
        (RECIPE, 5, "assets", "seed: was 0, now 5"),
        (RECIPE, 0, "others", "assets_sha256: was 'assets', now 'others'"),
        (other(quality={"samples": 3}), 0, "assets", "recipe.quality.samples: was 8, now 3"),
        (other(parts=[TABLE["parts"][0], {"name": "nut", "shape": "nut"}]), 0, "assets",
            "recipe.parts[1].name: was 'bolt', now 'nut'"),
    ],
)  # fmt: skip
def test_another_recipe_seed_or_assets_are_refused_and_named(out, recipe, seed, assets, said):
    with pytest.raises(DatasetError) as error:
        open_dataset(out, recipe, seed, assets)
    assert said in str(error.value)
    assert "choose another folder" in str(error.value)


def test_a_dataset_of_an_older_format_is_refused(out):
    old = json.loads((out / "dataset.json").read_text()) | {"format": 1}
    del old["assets_sha256"]
    (out / "dataset.json").write_text(json.dumps(old))
    with pytest.raises(DatasetError, match="format: was 1, now 3"):
        open_dataset(out, RECIPE, 0, "assets")
    with pytest.raises(DatasetError, match="not a dataset of format 3"):
        read_identity(out)


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.doc").write_text("mine")
    with pytest.raises(DatasetError, match=r"no dataset\.json"):
        open_dataset(tmp_path, RECIPE, 0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["thesis.doc"]


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="another folder"):
        open_dataset(tmp_path / "file", RECIPE, 0)


def test_a_damaged_identity_is_refused(out):
    (out / "dataset.json").write_text("{")
    with pytest.raises(DatasetError, match="cannot be read"):
        open_dataset(out, RECIPE, 0, "assets")


# ---- other formats ---------------------------------------------------------------------------------------


def test_yolo_by_hand(out):
    fill(out, 0, thing("bolt", 8, 4, 16, 8), thing("die", 0, 0, 32, 16))
    fill(out, 1)
    commit(out, record(2, status="skipped", reason="-"), None)
    merge(out, 3)
    listing = write_yolo(out).read_text()
    assert (out / "labels" / "000000.txt").read_text() == (
        "1 0.500000 0.250000 0.500000 0.250000\n0 0.500000 0.250000 1.000000 0.500000\n"
    )
    assert (out / "labels" / "000001.txt").read_text() == ""  # empty images are examples too
    assert not (out / "labels" / "000002.txt").exists()
    assert listing == (
        f'path: {json.dumps(str(out.resolve()))}\ntrain: images\nval: images\nnames:\n  0: "die"\n  1: '
        f'"bolt"\n'
    )


@pytest.mark.parametrize("kind", ["rle", "polygon"])
def test_yolo_outlines(out, kind):
    fill(out, 0, thing("die", 8, 16, 8, 4, kind))
    merge(out, 1)
    write_yolo(out, outlines=True)
    name, *numbers = (out / "labels" / "000000.txt").read_text().split()
    points = np.reshape(np.array(numbers, float), (-1, 2)) * SIDE
    assert name == "0"
    assert sorted(map(tuple, points.tolist())) == [(8, 16), (8, 20), (16, 16), (16, 20)]


def masks(out, kind):
    """A part, another on top of it, and a flaw on that one."""
    annotations = [
        thing("bolt", 4, 4, 4, 4, "rle", flaw=1), thing("die", 0, 0, 20, 20, "rle"), thing("bolt", 2, 2, 10,
            10, "rle"),
    ]  # fmt: skip
    fill(out, 0, *annotations)
    merge(out, 1)
    return write_masks(out, kind)


def test_masks_by_class_and_instance(out):
    by_class = cv2.imread(str(masks(out, "class") / "000000.png"), cv2.IMREAD_UNCHANGED)
    assert by_class.dtype == np.uint8
    assert [by_class[p] for p in ((25, 25), (15, 15), (10, 10), (5, 5))] == [0, 1, 2, 2]
    by_instance = cv2.imread(str(masks(out, "instance") / "000000.png"), cv2.IMREAD_UNCHANGED)
    assert by_instance.dtype == np.uint16
    assert [by_instance[p] for p in ((25, 25), (15, 15), (10, 10), (5, 5))] == [0, 2, 3, 1]


def test_masks_in_false_colours(out):
    picture = cv2.imread(str(masks(out, "colour") / "000000.png"))
    assert picture[25, 25].tolist() == [0, 0, 0]
    assert picture[15, 15].tolist() != picture[10, 10].tolist()
    assert picture[15, 15].tolist() == [38, 38, 255]  # the first hue is red; the file is read as BGR


def test_one_hot_masks_overlap(out):
    folder = masks(out, "onehot")
    layers = {p.parent.name: cv2.imread(str(p), cv2.IMREAD_UNCHANGED) for p in folder.rglob("*.png")}
    assert sorted(layers) == ["bolt", "die"]
    assert np.unique(layers["die"]).tolist() == [0, 255]
    assert (layers["die"] > 0).sum() == 400
    assert (layers["bolt"] > 0).sum() == 100
    assert layers["die"][5, 5] == layers["bolt"][5, 5] == 255


def test_masks_that_were_not_asked_for_are_refused(out):
    fill(out, 0, thing("die", 0, 0, 4, 4))
    merge(out, 1)
    with pytest.raises(DatasetError, match=r"image 0 has no masks.*labels\.masks"):
        write_masks(out, "class")
    with pytest.raises(
        DatasetError, match="expected a mask kind out of colour, class, instance, onehot, got 'x'"
    ):
        write_masks(out, "x")


def test_an_unfinished_dataset_is_not_exported(out):
    fill(out, 0)
    with pytest.raises(DatasetError, match=r"no annotations\.json; finish the rendering first"):
        write_yolo(out)
