import numpy as np
import pytest

from render.shapes.kernels.refine import refine_surface
from render.shapes.kernels.surface import polygons


def cube():
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
    faces = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
    return polygons(corners, faces)


def edges(surface):
    t = surface.triangles
    return np.sort(np.concatenate([t[:, [0, 1]], t[:, [1, 2]], t[:, [2, 0]]]), axis=1)


@pytest.mark.parametrize("longest", [2.0, 0.9, 0.3])
def test_refining_keeps_the_solid_closed_and_its_volume(longest):
    fine = refine_surface(cube(), longest)
    found, times = np.unique(edges(fine), axis=0, return_counts=True)
    assert (times == 2).all()
    assert fine.volume == pytest.approx(1)
    lengths = np.linalg.norm(fine.vertices[found[:, 0]] - fine.vertices[found[:, 1]], axis=1)
    assert lengths.max() <= longest


def test_texture_coordinates_and_accents_follow():
    vertices = np.array([[0, 0, 0], [4, 0, 0], [0, 1, 0]], float)
    flat = polygons(vertices, np.array([[0, 1, 2]]), uv=vertices[:, :2] / 4, accent=vertices[:, 0] / 4)
    fine = refine_surface(flat, 0.6)
    places = fine.vertices[fine.corners]
    assert fine.uv == pytest.approx(places[:, :2] / 4)
    assert fine.accent == pytest.approx(fine.vertices[:, 0] / 4)
    assert np.abs(fine.normals[:, 2]).sum() / 2 == pytest.approx(2)  # the area, 4 x 1 / 2
    assert (fine.normals[:, 2] > 0).all()
