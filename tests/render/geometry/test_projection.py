import math

import cv2
import numpy as np
import pytest

from render import RecipeError
from render.core.spec import CameraSpec, LensSpec
from render.geometry.projection import (
    distort,
    on_ground,
    project,
    ray,
    to_camera,
    undistort,
    undistorted_view,
)
from render.geometry.silhouette import silhouette
from render.shapes.kernels.surface import polygons

BENT = (-0.28, 0.09, 0.002, -0.0015, 0.01)


def down(height=2.0, focal=500.0, **more):
    """Straight down from above the origin; the picture's x is the world's, its y the world's turned over."""
    return CameraSpec("c", (1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, height), focal, **more)


def level(focal=100.0):
    """At (0, -5, 1), looking along y with z up."""
    return CameraSpec("c", (1, 0, 0, 0, 0, 0, -1, -5, 0, 1, 0, 1), focal)


def test_a_point_lands_where_similar_triangles_say():
    # 2 m below, 0.1 m right and 0.2 m towards the picture's top: 500 / 2 px per metre.
    (pixel,) = project(down(), 640, 360, np.array([[0.1, 0.2, 0.0]]))
    assert pixel == pytest.approx([320 + 25, 180 - 50])
    # 1.5 m above the camera's height and 3 m away from it.
    (pixel,) = project(level(), 200, 100, np.array([[0.6, -2.0, 2.5]]))
    assert pixel == pytest.approx([100 + 20, 50 - 50])


def test_right_down_forward():
    assert to_camera(level(), np.array([[1.0, -2.0, 0.5]])) == pytest.approx(np.array([[1.0, 0.5, 3.0]]))


def test_what_is_behind_the_camera_has_no_pixel():
    pixels = project(down(), 64, 64, np.array([[0.0, 0.0, 2.0], [0.1, 0.0, 3.0], [0.0, 0.0, 1.9]]))
    assert np.isnan(pixels).all(axis=1).tolist() == [True, True, False]


def test_lens_and_principal_point_are_opencv_s():
    lens = LensSpec(k=BENT, shift_px=(7.0, -4.0), aspect=1.02)
    points = np.random.default_rng(0).uniform(-0.7, 0.7, (60, 3))
    matrix = np.array([[500, 0, 320 + 7 - 0.5], [0, 510, 180 - 4 - 0.5], [0, 0, 1.0]])
    theirs = cv2.projectPoints(
        points * (1, -1, -1) + (0, 0, 2), np.zeros(3), np.zeros(3), matrix, np.array(BENT)
    )[0]
    assert project(down(lens=lens), 640, 360, points) == pytest.approx(theirs[:, 0] + 0.5, abs=1e-9)


@pytest.mark.parametrize("lens", [LensSpec(), LensSpec(k=BENT, shift_px=(7.0, -4.0), aspect=0.9)])
def test_a_ray_goes_back_to_the_point_it_came_from(lens):
    points = np.random.default_rng(1).uniform(-0.7, 0.7, (60, 3))
    camera = down(lens=lens)
    there = (points - (0, 0, 2)) / np.linalg.norm(points - (0, 0, 2), axis=1, keepdims=True)
    assert ray(camera, 640, 360, project(camera, 640, 360, points)) == pytest.approx(there, abs=1e-10)


def test_a_lens_that_turns_back_folds_nothing_into_the_picture():
    # r (1 - 0.5 r²) has its top at r = 0.816; without care, what lies at 1.4 would land in the middle.
    radii = np.linspace(0, 5, 200)
    bent = distort(np.stack([radii, np.zeros(200)], axis=1), (-0.5, 0, 0, 0, 0))[:, 0]
    assert (np.diff(bent) > 0).all()
    assert bent[radii < 0.77] == pytest.approx((radii - 0.5 * radii**3)[radii < 0.77])
    back = undistort(np.stack([bent, np.zeros(200)], axis=1), (-0.5, 0, 0, 0, 0))[:, 0]
    assert back == pytest.approx(radii, abs=1e-9)


def test_pixels_on_the_ground_and_beyond_the_horizon():
    # 1 m above the ground; 50 px below the middle is a slope of 1 / 2, so 2 m ahead.
    seen = on_ground(
        level(), 200, 100, np.array([[100.0, 100.0], [150.0, 100.0], [100.0, 50.0], [100.0, 10.0]])
    )
    assert seen[:2] == pytest.approx(np.array([[0.0, -3.0, 0.0], [1.0, -3.0, 0.0]]))
    assert np.isnan(seen[2:]).all()


def test_a_straight_lens_needs_no_plate():
    assert undistorted_view(down(), 64, 48) is None


@pytest.mark.integration
@pytest.mark.parametrize("k", [BENT, (0.2, 0.0, 0.0, 0.0, 0.0)])
def test_the_plate_shows_each_pixel_s_ray_where_the_maps_say(k):
    camera = down(focal=90.0, lens=LensSpec(k=k, shift_px=(3.0, 2.0), aspect=1.1), f_number=2.0, focus_m=1.0)
    undistorted = undistorted_view(camera, 96, 64)
    rows, columns = np.indices((64, 96))
    pixels = np.stack([columns.ravel(), rows.ravel()], axis=1) + 0.5
    spots = np.stack([undistorted.map_x.ravel(), undistorted.map_y.ravel()], axis=1) + 0.5
    mine, theirs = (
        ray(camera, 96, 64, pixels),
        ray(undistorted.camera, undistorted.width, undistorted.height, spots),
    )
    assert mine == pytest.approx(theirs, abs=1e-6)
    assert spots.min() >= 1
    assert (spots.max(axis=0) <= (undistorted.width - 1, undistorted.height - 1)).all()
    # Its lens in millimetres, which the focus blur depends on, is the same.
    lenses = [
        c.focal_px / w * c.sensor_mm for c, w in ((camera, 96), (undistorted.camera, undistorted.width))
    ]
    assert lenses[1] == pytest.approx(lenses[0])


def test_a_lens_that_bends_beyond_reason_is_refused():
    with pytest.raises(RecipeError, match="check k1"):
        undistorted_view(down(focal=60.0, lens=LensSpec(k=(-1.0, 0, 0, 0, 0))), 96, 64)


# ---- silhouettes -----------------------------------------------------------------------------------------

HERE = (1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0)
CUBE = polygons(
    np.array([(x, y, z) for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)]),
    np.array([(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]),
)


def beside(x, y=0.0, z=0.0):
    return (1, 0, 0, x, 0, 1, 0, y, 0, 0, 1, z)


def test_a_cube_covers_its_upper_face():
    whole = silhouette(down(10.0, 1000.0), 200, 200, [(CUBE, HERE)])
    side = 1000 / 9.5
    assert whole.area_px == pytest.approx(side**2, rel=1e-6)
    assert whole.inside_px == pytest.approx(side**2, rel=1e-6)
    assert whole.box == pytest.approx((100 - side / 2, 100 - side / 2, 100 + side / 2, 100 + side / 2))
    assert whole.covers(np.array([(100.0, 100.0), (46.0, 100.0), (np.nan, 1.0)])).tolist() == [
        True,
        False,
        False,
    ]


def test_a_cube_seen_at_an_edge_shows_two_faces():
    # Turned by 45° about y: an edge 0.707 m above the middle, the two others at its height.
    c = math.sqrt(0.5)
    whole = silhouette(down(10.0, 1000.0), 400, 400, [(CUBE, (c, 0, c, 0, 0, 1, 0, 0, -c, 0, c, 0))])
    near, far = 1000 / (10 - c), 1000 / 10
    # Two trapezoids, from the near edge (1 m long) to the far ones, 0.707 m to either side.
    assert whole.area_px == pytest.approx(2 * (near + far) / 2 * c * far, rel=2e-3)


def test_what_lies_outside_the_picture_counts_but_not_as_inside():
    # At the ground 100 px per metre; far enough away that no side shows.
    camera = CameraSpec("c", beside(0, 0, 1000.0), 1e5)
    whole = silhouette(camera, 200, 200, [(CUBE, beside(0.75))])
    assert whole.area_px == pytest.approx(1e4, rel=3e-3)
    assert whole.inside_px == pytest.approx(7.5e3, rel=3e-3)


def test_surfaces_together_make_the_union():
    camera = CameraSpec("c", beside(0, 0, 1000.0), 1e5)
    whole = silhouette(camera, 400, 400, [(CUBE, HERE), (CUBE, beside(0.25, 0.0, 3.0))])
    assert whole.area_px == pytest.approx(1.25e4, rel=1e-2)  # the second is a little nearer
    apart = silhouette(camera, 400, 400, [(CUBE, beside(-1.0)), (CUBE, beside(1.0))])
    assert apart.area_px == pytest.approx(2e4, rel=1e-2)
    assert not apart.covers(np.array([[200.0, 200.0]])).any()


def test_an_open_sheet_seen_from_behind_and_a_mirrored_cube_count_as_well():
    camera = CameraSpec("c", beside(0, 0, 1000.0), 1e5)
    sheet = polygons(
        np.array([(-0.5, -0.5, 0), (0.5, -0.5, 0), (0.5, 0.5, 0), (-0.5, 0.5, 0.0)]), np.array([(3, 2, 1, 0)])
    )
    assert silhouette(camera, 400, 400, [(sheet, HERE)]).area_px == pytest.approx(1e4, rel=1e-4)
    mirrored = (-1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0)
    both = silhouette(camera, 400, 400, [(CUBE, mirrored), (CUBE, HERE)])
    assert both.area_px == pytest.approx(1e4, rel=3e-3)


def test_a_hole_in_a_surface_is_no_part_of_its_silhouette():
    outer = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    points = np.array([(x, y, 0.0) for x, y in outer] + [(x / 2, y / 2, 0.0) for x, y in outer])
    frame = polygons(points, np.array([(i, (i + 1) % 4, 4 + (i + 1) % 4, 4 + i) for i in range(4)]))
    whole = silhouette(CameraSpec("c", beside(0, 0, 1000.0), 1e5), 400, 400, [(frame, HERE)])
    assert whole.area_px == pytest.approx(4e4 - 1e4, rel=1e-3)


def test_a_thing_that_reaches_behind_the_camera_is_cut_there():
    # A wall of 2 m beside the camera, from 4 m behind it to 4 m before it, 1 m to the right.
    wall = polygons(np.array([(1, -1, 4), (1, 1, 4), (1, 1, -4), (1, -1, -4.0)]), np.array([(0, 1, 2, 3)]))
    whole = silhouette(down(0.0, 100.0), 200, 200, [(wall, HERE)])
    # Its far end is at 100 + 100 / 4; from there it opens to the right, out of the picture at (200, +-100).
    assert whole.box[0] == pytest.approx(125)
    assert whole.inside_px == pytest.approx((50 + 200) / 2 * 75, rel=0.01)
    assert silhouette(down(-5.0, 100.0), 200, 200, [(wall, HERE)]) is None


def test_a_lens_bends_the_sides_of_a_silhouette():
    camera = down(10.0, 1000.0, lens=LensSpec(k=(-2.0, 0, 0, 0, 0)))
    whole = silhouette(camera, 200, 200, [(CUBE, HERE)])
    # The mean of the map's determinant, (1 + k r²)(1 + 3 k r²), over the face.
    x = (np.arange(500) + 0.5) / 500 * 0.5 / 9.5
    s = x[:, None] ** 2 + x**2
    assert whole.area_px == pytest.approx(((1 - 2 * s) * (1 - 6 * s)).mean() * (1000 / 9.5) ** 2, rel=2e-3)
