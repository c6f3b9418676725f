import numpy as np
import pytest
from pycocotools import mask as coco

from render.annotation.masks import bounds, colours, decode, encode, fill, of_segmentation, polygons


def disc(side, x, y, radius):
    rows, columns = np.indices((side, side)) + 0.5
    return np.hypot(columns - x, rows - y) < radius


def overlap(a, b):
    return (a & b).sum() / (a | b).sum()


def test_bounds_hold_exactly_the_pixels():
    mask = np.zeros((20, 30), bool)
    assert bounds(mask) == (0, 0, 0, 0)
    mask[5, 7] = mask[12, 3] = True
    assert bounds(mask) == (3, 5, 5, 8)


def test_run_lengths_are_coco_s_and_come_back_whole():
    mask = np.random.default_rng(0).random((37, 51)) > 0.5
    counts = encode(mask)
    assert (decode(counts, 37, 51) == mask).all()
    theirs = {"size": [37, 51], "counts": counts}
    assert coco.area(theirs) == mask.sum()
    assert tuple(coco.toBbox(theirs)) == bounds(mask)


def test_run_lengths_by_hand():
    # Column by column: 3 background, 2 mask, 1 background; each run one character, 48 above its length.
    mask = np.array([[0, 1], [0, 1], [0, 0]], bool)
    assert encode(mask) == "321"


def test_a_rectangle_s_outline_runs_along_the_edges_of_its_pixels():
    mask = np.zeros((20, 20), bool)
    mask[3:9, 5:12] = True
    (outline,) = polygons(mask)
    points = np.reshape(outline, (-1, 2))
    assert sorted(map(tuple, points.tolist())) == [(5, 3), (5, 9), (12, 3), (12, 9)]
    assert (fill((outline,), 20, 20) == mask).all()


def test_a_single_pixel_has_an_outline():
    mask = np.zeros((9, 9), bool)
    mask[4, 6] = True
    (outline,) = polygons(mask)
    assert sorted(zip(outline[::2], outline[1::2], strict=True)) == [(6, 4), (6, 5), (7, 4), (7, 5)]


def test_pieces_get_outlines_of_their_own():
    mask = disc(60, 15, 15, 9) | disc(60, 42.5, 40, 12)
    outlines = polygons(mask)
    assert len(outlines) == 2
    assert overlap(fill(outlines, 60, 60), mask) > 0.95


def test_outlines_are_short_and_near():
    mask = disc(200, 100, 100, 80.3)
    (outline,) = polygons(mask)
    assert len(outline) // 2 < 160  # the staircase has 640 corners
    assert overlap(fill((outline,), 200, 200), mask) > 0.985


def test_a_hole_stays_a_hole():
    ring = disc(120, 60, 60, 50) & ~disc(120, 60, 60, 30) & ~disc(120, 60, 102, 4)
    (outline,) = polygons(ring)
    filled = fill((outline,), 120, 120)
    assert not filled[60, 60]
    assert not filled[102, 60]
    assert overlap(filled, ring) > 0.96


def test_an_empty_mask_has_no_outline():
    assert polygons(np.zeros((5, 5), bool)) == ()


@pytest.mark.parametrize("count", [0, 1, 7, 40])
def test_colours_differ_and_none_is_black(count):
    made = colours(count)
    assert made.shape == (count, 3)
    assert len({tuple(row) for row in made.tolist()}) == count
    assert (made.max(axis=1) > 100).all()


def test_run_lengths_of_other_tools_are_read_as_coco_reads_them():
    mask = np.random.default_rng(1).random((37, 51)) > np.linspace(0, 1, 51)
    theirs = coco.encode(np.asfortranarray(mask, np.uint8))
    text = {"size": [37, 51], "counts": theirs["counts"].decode()}
    assert (of_segmentation(text, 37, 51) == coco.decode(theirs)).all()
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat]).astype(int))).tolist()
    runs = np.diff([0, *edges, flat.size]).tolist()
    assert (of_segmentation({"size": [37, 51], "counts": runs}, 37, 51) == mask).all()


@pytest.mark.parametrize("counts", ["0" * 40 + "o5", "~~~", "o", [-4, 8], [10, 20]])
def test_run_lengths_of_no_such_picture_are_refused(counts):
    """By pycocotools some of them are read beyond their memory."""
    size = [10**9, 10**9] if counts == "o" else [4, 4]
    with pytest.raises(ValueError, match="run lengths"):
        of_segmentation({"size": size, "counts": counts}, 4, 4)
