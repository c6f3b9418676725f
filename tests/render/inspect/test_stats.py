"""Measures and distances against arithmetic by hand, and the report in words."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from render import DatasetError
from render.coco import read_coco
from render.inspect.measures import image_statistics, measure, total_variation
from render.inspect.stats import _describe_difference, _gap, as_json, compare, table, write_report

GREY = np.full((100, 200, 3), 128, np.uint8)


def write_set(folder, boxes, *, size=(200, 100), pictures=None, names=("a", "b")):
    """A COCO file: boxes is a list of (image, category name, x, y, w, h)."""
    (folder / "images").mkdir(parents=True)
    count = 1 + max((b[0] for b in boxes), default=0)
    for i in range(count):
        picture = GREY if pictures is None else pictures[i % len(pictures)]
        cv2.imwrite(str(folder / "images" / f"{i}.png"), picture)
    coco = {
        "images": [
            {"id": 10 + i, "file_name": f"{i}.png", "width": size[0], "height": size[1]} for i in range(count)
        ],
        "annotations": [
            {"id": k, "image_id": 10 + i, "category_id": 5 + names.index(name), "bbox": bbox, "area": 1}
            for k, (i, name, *bbox) in enumerate(boxes)
        ],
        "categories": [{"id": 5 + k, "name": name} for k, name in enumerate(names)],
    }
    path = folder / "set.json"
    path.write_text(json.dumps(coco))
    return path


def test_measures_of_two_boxes_by_hand(tmp_path):
    """In 200 x 100 px: 20 x 10 at the top left; 50 x 100 at the right edge, in another image."""
    path = write_set(tmp_path / "s", [(0, "a", 0, 0, 20, 10), (2, "b", 150, 0, 50, 100)])
    measured = measure(read_coco(path), 200)
    np.testing.assert_allclose(measured.values["size"], [0.1, 0.5])
    np.testing.assert_allclose(measured.values["aspect"], [2.0, 0.5])
    np.testing.assert_allclose(measured.values["position x"], [0.05, 0.875])
    np.testing.assert_allclose(measured.values["position y"], [0.05, 0.5])
    np.testing.assert_allclose(measured.values["boxes per image"], [1, 0, 1])
    assert measured.shares == {"a": 0.5, "b": 0.5}
    np.testing.assert_allclose(measured.size_by_category["b"], [0.5])
    assert (measured.pictures, measured.boxes, measured.empty, measured.unread) == (3, 2, 1, 0)


def test_the_position_map_has_the_share_of_boxes_over_each_cell(tmp_path):
    """Of 32 x 32 cells, the left quarter is 8 columns and the upper half 16 rows."""
    path = write_set(tmp_path / "s", [(0, "a", 0, 0, 50, 100), (0, "a", 0, 0, 200, 50)])
    covered = measure(read_coco(path), 200).position
    assert covered[0, 0] == 1.0
    assert covered[31, 7] == 0.5
    assert covered[15, 8] == 0.5
    assert covered[16, 8] == 0.0


def test_looks_of_a_picture_by_hand(tmp_path):
    """Half black, half white: mean and deviation 1/2; grey has no saturation, red all of it."""
    halves = np.zeros((100, 100, 3), np.uint8)
    halves[:, 50:] = 255
    cv2.imwrite(str(tmp_path / "h.png"), halves)
    brightness, contrast, sharpness, saturation = image_statistics(tmp_path / "h.png", 100)
    assert (brightness, contrast, saturation) == (0.5, 0.5, 0.0)
    # Of each row's 100 pixels one has Laplacian 255 and one -255, with mean 0: variance 2 * 255² / 100.
    assert sharpness == pytest.approx(2 * 255**2 / 100)
    red = np.zeros((10, 10, 3), np.uint8)
    red[..., 2] = 200
    cv2.imwrite(str(tmp_path / "r.png"), red)
    assert image_statistics(tmp_path / "r.png", 10)[3] == 1.0
    cv2.imwrite(str(tmp_path / "line.png"), np.full((1, 9000, 3), 51, np.uint8))
    assert image_statistics(tmp_path / "line.png", 100) == (0.2, 0.0, 0.0, 0.0)
    (tmp_path / "broken.png").write_text("x")
    assert image_statistics(tmp_path / "broken.png", 10) is None


def test_pictures_are_compared_at_one_scale(tmp_path):
    """The same scene at twice the size, without more detail, is as sharp as the small one."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (90, 90, 3), np.uint8)
    large = cv2.resize(small, (180, 180), interpolation=cv2.INTER_NEAREST)
    cv2.imwrite(str(tmp_path / "s.png"), small)
    cv2.imwrite(str(tmp_path / "l.png"), large)
    sharp = [image_statistics(tmp_path / name, 90)[2] for name in ("s.png", "l.png")]
    assert sharp[1] == sharp[0]
    assert image_statistics(tmp_path / "l.png", 180)[2] != pytest.approx(sharp[0], rel=0.3)


def test_gaps_by_hand():
    gap = _gap("brightness", np.array([0.0, 1.0]), np.array([1.0, 2.0]))
    assert (gap.distance, gap.wasserstein) == (0.5, 1.0)
    # Unequal numbers: half of the weight moves by 2, the rest stays.
    gap = _gap("brightness", np.array([0.0, 0.0, 2.0, 2.0]), np.array([2.0]))
    assert (gap.distance, gap.wasserstein) == (0.5, 1.0)
    assert total_variation({"a": 0.5, "b": 0.5}, {"a": 1.0}) == 0.5
    assert total_variation({"a": 1.0}, {"b": 1.0}) == 1.0


def test_samples_of_one_distribution_stay_below_the_noise():
    """The formula promises 95 of 100."""
    rng = np.random.default_rng(3)
    gaps = [_gap("brightness", rng.normal(size=80), rng.normal(size=120)) for _ in range(400)]
    assert 0.01 < np.mean([gap.real for gap in gaps]) < 0.08


def grid(count, w, h, name="a", images=10):
    """Boxes of one size spread over images."""
    return [(k % images, name, 5 + k * 7 % 100, 5 + k * 3 % 40, w + k % 3, h + k % 3) for k in range(count)]


def test_the_largest_gap_comes_first_and_is_said_in_words(tmp_path):
    """Three times the size, all else alike."""
    here = write_set(tmp_path / "here", grid(60, 45, 45))
    there = write_set(tmp_path / "there", grid(60, 15, 15))
    report = compare(here, there)
    distances = [gap.distance for gap in report.gaps]
    assert distances == sorted(distances, reverse=True)
    by_name = {gap.measure: gap for gap in report.gaps}
    assert by_name["size"].distance == 1.0
    assert by_name["size"].real
    assert "rendered 2.9 times the real" in by_name["size"].says  # 46 / 16
    assert not by_name["boxes per image"].real
    text = table(report)
    assert text.splitlines()[1].startswith("size")
    assert "Differs most: size. Rendered 2.9 times the real" in text
    assert "Moved by size_m of the parts or defects" in text


def test_a_set_against_itself_differs_in_nothing(tmp_path):
    path = write_set(tmp_path / "s", grid(40, 20, 20))
    text = table(compare(path, path))
    assert text.endswith("Nothing differs by more than chance.")


def test_sizes_are_compared_class_by_class(tmp_path):
    here = write_set(tmp_path / "here", grid(20, 20, 20) + grid(20, 60, 60, "b"))
    there = write_set(tmp_path / "there", grid(20, 20, 20) + grid(20, 20, 20, "b"))
    report = compare(here, there)
    assert [gap.measure for gap in report.size_gaps] == ["b", "a"]
    assert [gap.distance for gap in report.size_gaps] == [1.0, 0.0]


def test_a_wider_spread_is_called_so():
    narrow, wide = np.linspace(0.4, 0.6, 101), np.linspace(0.2, 0.8, 101)
    assert "wider: middle half 3 times as wide" in _describe_difference("brightness", wide, narrow)
    assert "narrower: middle half 0.33 times" in _describe_difference("brightness", narrow, wide)
    assert _describe_difference("brightness", narrow + 0.3, narrow).startswith("rendered higher by 0.3")
    assert _describe_difference("size", narrow, narrow).startswith("alike in level and spread")
    one = np.ones(101)
    assert _describe_difference("aspect", narrow + 0.5, one).startswith(
        "alike in level, only the rendered vary"
    )
    assert _describe_difference("aspect", one, narrow + 0.5).startswith("alike in level, only the real vary")
    assert _describe_difference("aspect", one, one).startswith("alike in level, neither varies")


@pytest.mark.integration
def test_the_report_is_written_as_figure_and_data(tmp_path):
    here = write_set(tmp_path / "here", grid(30, 30, 20))
    there = write_set(tmp_path / "there", grid(30, 20, 30, "b"))
    report = compare(here, there)
    data, chart = write_report(report, tmp_path / "new" / "stats")
    picture = cv2.imread(str(chart))
    assert picture.shape == (1000, 1500, 3)
    stored = json.loads(data.read_text())
    assert stored == json.loads(json.dumps(as_json(report)))
    assert stored["rendered"]["boxes"] == 30
    assert stored["gaps"][0]["distance"] == 1.0
    assert (
        stored["rendered"]["measures"]["aspect"]["median"]
        > 1
        > stored["real"]["measures"]["aspect"]["median"]
    )


def test_one_set_alone_is_described(tmp_path):
    path = write_set(tmp_path / "s", grid(30, 30, 20))
    report = compare(path)
    assert "class shares: a 100%" in table(report)


def test_a_missing_picture_is_counted_and_does_not_stop(tmp_path):
    path = write_set(tmp_path / "s", grid(30, 30, 20))
    (tmp_path / "s" / "images" / "3.png").unlink()
    report = compare(path)
    measured = report.rendered
    assert measured.unread == 1
    said = (
        "1 of the sampled images are missing or cannot be read; brightness and colour are of the other images"
    )
    assert table(report).endswith(said)
    assert said not in table(compare(write_set(tmp_path / "whole", grid(30, 30, 20))))
    assert len(measured.values["brightness"]) == 9


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "cannot be read as JSON"), ("[]", "expected a COCO object"), ('{"images": []}', "expected COCO")],
)
def test_what_is_no_coco_file_is_refused(tmp_path, text, message):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(DatasetError, match=message):
        compare(tmp_path / "x.json")


def test_a_set_without_boxes_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="expected boxes to measure"):
        compare(write_set(tmp_path / "s", []))
    with pytest.raises(DatasetError, match="no such file"):
        compare(tmp_path / "none.json")


def test_crowds_and_empty_boxes_are_left_out(tmp_path):
    path = write_set(tmp_path / "s", [(0, "a", 0, 0, 20, 10), (0, "a", 0, 0, 0, 10), (0, "b", 1, 1, 5, 5)])
    coco = json.loads(path.read_text())
    coco["annotations"][2]["iscrowd"] = 1
    path.write_text(json.dumps(coco))
    assert read_coco(path).bbox.tolist() == [[0, 0, 20, 10]]
