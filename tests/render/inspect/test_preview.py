"""The contact sheet: what is drawn where, how large it may get, and which images it shows."""

from __future__ import annotations

import cv2
import msgspec
import numpy as np
import pytest
from PIL import Image
from support.fake_worker import FakeRenderWorker

from render import DatasetError, RenderOptions, parse_recipe
from render.annotation import masks
from render.coco import LabelledSet, Picture
from render.dataset.generate import render_dataset
from render.inspect.contact_sheet import LIMIT_BYTES, Cell, colour_of, contact_sheet, to_jpeg
from render.inspect.preview import one_image_per_scene, preview_dataset, preview_recipe, reduced_recipe

RECIPE = parse_recipe(
    {
        "name": "x",
        "parts": [{"name": "cube", "shape": "box", "size_m": 0.02}],
        "image": {"width": 640, "height": 320},
        "quality": {"samples": 8},
        "labels": {"min_visible_px": 40, "min_side_px": 6},
        "sensor": {"blur_px": {"uniform": [0.4, 2.0]}, "motion_px": 3.0},
    }
)


def one_picture(tmp_path, bbox, outline=None, size=(320, 160)):
    """A white picture with one label of category "bolt"."""
    path = tmp_path / "p.png"
    Image.new("RGB", size, (255, 255, 255)).save(path)
    return LabelledSet(
        "s",
        ("nut", "bolt"),
        (Picture("p.png", path, *size),),
        np.array([0]),
        np.array([1]),
        np.array([bbox], dtype=np.float64),
        (outline,),
    )


def where(sheet, colour):
    """Left, top, right, bottom of the pixels of a colour, inclusive."""
    rows, columns = np.nonzero((np.asarray(sheet) == colour).all(axis=2))
    return columns.min(), rows.min(), columns.max(), rows.max()


def test_a_box_is_drawn_around_the_labelled_pixels(tmp_path):
    """A cell of 320 px shows a picture of 320 px as it is, from (6, 26) on; the line is one pixel outside.

    No mask, and a legend below the picture: only rows of the picture are looked at.
    """
    data = one_picture(tmp_path, (100, 60, 50, 40))
    sheet = contact_sheet(data, [Cell("0", 0)], "title")
    picture = np.asarray(sheet)[26 : 26 + 160, 6 : 6 + 320]
    colour = colour_of(1)
    # Below the tag, which lies above the box, the outermost drawn pixels are the box.
    assert where(picture[59:], colour) == (99, 0, 150, 41)
    assert (picture[70:90, 110:140] == 255).all(), "nothing is drawn over the object itself"


def test_the_name_stands_above_the_box_in_its_colour(tmp_path):
    data = one_picture(tmp_path, (100, 60, 50, 40))
    picture = np.asarray(contact_sheet(data, [Cell("0", 0)], "t"))[26:186, 6:326]
    tag = picture[47:58, 100:120]
    share = (tag == colour_of(1)).all(axis=2).mean()
    assert 0.3 < share < 0.95, "the tag is filled with the colour, and has letters in it"


def test_a_mask_is_drawn_as_its_contour(tmp_path):
    """A disc in a box: the contour passes at the disc's left edge, the box's corners stay white."""
    grid = np.zeros((160, 320), np.uint8)
    cv2.circle(grid, (160, 80), 30, 1, -1)
    rle = {"size": [160, 320], "counts": masks.encode(grid.astype(bool))}
    data = one_picture(tmp_path, (130, 50, 61, 61), rle)
    picture = np.asarray(contact_sheet(data, [Cell("0", 0)], "t"))[26:186, 6:326]
    assert tuple(picture[80, 130]) == colour_of(1)
    assert tuple(picture[51, 160]) == colour_of(1) or tuple(picture[50, 160]) == colour_of(1)
    assert (picture[53:56, 133:136] == 255).all()
    assert (picture[70:90, 150:170] == 255).all()


@pytest.mark.parametrize(
    "outline",
    [
        [[130, 50, 190, 50, 190, 110, 130, 110]],
        {"size": [160, 320], "counts": [130 * 160 + 50, *[60, 100] * 60, 0]},
    ],
)
def test_polygons_and_plain_run_lengths_are_drawn_too(tmp_path, outline):
    data = one_picture(tmp_path, (100, 30, 120, 110), outline)
    picture = np.asarray(contact_sheet(data, [Cell("0", 0)], "t"))[26:186, 6:326]
    assert tuple(picture[80, 130]) == colour_of(1)


def test_tags_do_not_cover_each_other(tmp_path):
    """Many labels on one spot: every pixel of the tags is written once, the rest is left to the colours."""
    data = one_picture(tmp_path, (100, 60, 50, 40))
    many = LabelledSet(
        "s",
        data.categories,
        data.pictures,
        np.zeros(30, int),
        np.ones(30, int),
        np.repeat(data.bbox, 30, axis=0),
        (None,) * 30,
    )
    picture = np.asarray(contact_sheet(many, [Cell("0", 0)], "t"))[26:186, 6:326]
    filled = (picture == colour_of(1)).all(axis=2).sum()
    # The box has 2 * (52 + 40) pixels; a tag about 14 * 30, at most six of them.
    assert filled < 184 + 6 * 14 * 32


@pytest.mark.integration
def test_a_sheet_is_never_larger_than_the_limit():
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (1000, 1300, 3), np.uint8))
    data = to_jpeg(noise)
    assert len(data) <= LIMIT_BYTES
    plain = Image.new("RGB", (1300, 1000))
    assert cv2.imdecode(np.frombuffer(to_jpeg(plain), np.uint8), 1).shape == (1000, 1300, 3)


def test_colours_differ():
    assert len({colour_of(i) for i in range(60)}) == 60


def test_a_cell_without_a_picture_says_why(tmp_path):
    data = one_picture(tmp_path, (100, 60, 50, 40))
    empty = np.asarray(contact_sheet(data, [Cell("0", 0), Cell("image 1: failed", note="")], "t"))
    noted = np.asarray(
        contact_sheet(data, [Cell("0", 0), Cell("image 1: failed", note="ValueError: odd")], "t")
    )
    assert empty.shape == noted.shape
    assert (empty != noted).any()


def test_a_picture_of_another_size_is_not_drawn_with_boxes_beside_its_parts(tmp_path):
    data = one_picture(tmp_path, (100, 60, 50, 40))
    Image.new("RGB", (160, 320), (255, 255, 255)).save(tmp_path / "p.png")
    sheet = np.asarray(contact_sheet(data, [Cell("0", 0)], "t"))
    assert not (sheet[26 : 26 + 160] == colour_of(1)).all(axis=2).any()


def test_a_picture_of_one_row_is_drawn(tmp_path):
    data = one_picture(tmp_path, (0, 0, 9000, 1), size=(9000, 1))
    sheet = np.asarray(contact_sheet(data, [Cell("0", 0)], "t"))
    assert (sheet[26] == colour_of(1)).all(axis=1).any()


def test_the_preview_is_small_and_quick_and_shows_the_same():
    """640 x 320 becomes 320 x 160: lengths halve, areas become a quarter."""
    small = reduced_recipe(RECIPE)
    assert (small.image.width, small.image.height) == (320, 160)
    assert (small.quality.samples, small.quality.denoise) == (4, "fast")
    assert (small.labels.min_visible_px, small.labels.min_side_px, small.labels.masks) == (10, 3, "rle")
    assert small.sensor.blur_px.uniform == (0.2, 1.0)
    assert small.sensor.motion_px == 1.5
    assert small.parts == RECIPE.parts
    tiny = msgspec.structs.replace(RECIPE, image=msgspec.structs.replace(RECIPE.image, width=64, height=48))
    assert (reduced_recipe(tiny).image.width, reduced_recipe(tiny).labels.min_visible_px) == (64, 40)


def test_every_image_is_of_another_scene_and_the_cameras_take_turns():
    assert one_image_per_scene(4, 1) == [0, 1, 2, 3]
    assert one_image_per_scene(5, 3) == [0, 4, 8, 9, 13]  # scenes 0..4, views 0, 1, 2, 0, 1


@pytest.mark.integration
def test_a_recipe_is_previewed(tmp_path):
    stand_in = FakeRenderWorker(tmp_path / "stand-in", "def behave(scene, *_):\n  if scene == 3: os._exit(1)")
    told = []
    data = preview_recipe(
        RECIPE,
        tmp_path / "p.jpg",
        RenderOptions(python=stand_in.path),
        images=5,
        on_progress=lambda *x: told.append(x),
    )
    assert told[-1] == (5, 5)
    assert len(data.pictures) == 4
    picture = cv2.imread(str(tmp_path / "p.jpg"))
    assert picture.shape[1] > 2 * 320
    assert (tmp_path / "p.jpg").stat().st_size <= LIMIT_BYTES
    assert sorted(tmp_path.iterdir()) == [tmp_path / "p.jpg", tmp_path / "stand-in"], "nothing else is left"


def test_a_scale_that_cannot_be_meant_is_mentioned(tmp_path):
    """Labels of 10 x 8 px in 320 x 320 px: 0.08 %."""
    wide = msgspec.structs.replace(RECIPE, image=msgspec.structs.replace(RECIPE.image, width=320, height=320))
    said = []
    options = RenderOptions(python=FakeRenderWorker(tmp_path / "stand-in").path)
    preview_recipe(wide, tmp_path / "p.jpg", options, images=1, on_warning=said.append)
    assert len(said) == 1
    assert "check units and size_m" in said[0]


def test_a_dataset_is_previewed_without_rendering(tmp_path):
    stand_in = FakeRenderWorker(tmp_path / "stand-in")
    render_dataset(RECIPE, tmp_path / "out", 5, 0, RenderOptions(python=stand_in.path))
    asked = len(stand_in.requests)
    preview_dataset(tmp_path / "out", tmp_path / "p.jpg", images=3)
    assert cv2.imread(str(tmp_path / "p.jpg")) is not None
    assert len(stand_in.requests) == asked


@pytest.mark.parametrize("name", ["p.png", "p", "none/p.jpg"])
def test_a_target_that_cannot_be_is_refused_before_rendering(tmp_path, name):
    with pytest.raises(DatasetError, match=r"expected (a name that ends in \.jpg|an existing folder)"):
        preview_recipe(RECIPE, tmp_path / name, RenderOptions(python="/no/python"))
