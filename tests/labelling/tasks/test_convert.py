"""Pixels to percent and back, and refusals."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from al_loop.cli.simulated_annotator import correct
from al_loop.core.errors import LabelStudioError
from al_loop.labelling.client.task import Edits, OutgoingTask
from al_loop.labelling.tasks.convert import from_result, region, to_prediction
from al_loop.labelling.tasks.edits import count_edits
from al_loop.labelling.tasks.project import check_labels, labelling_config, read_labels
from al_loop.labelling.tasks.regions import ImageSize, RefusedResultError
from al_loop.structures.boxes import Boxes

CLASSES = ["one", "two"]
SIZE = ImageSize(200, 100)


def outgoing(boxes: Boxes, width: int = 200, height: int = 100) -> OutgoingTask:
    return OutgoingTask("k", "0" * 64, Path("a.jpg"), "a.jpg", width, height, boxes, 0.5, 0, "why")


def rectangle(**changes: Any) -> dict[str, Any]:
    made = region("r", np.array([20.0, 10.0, 60.0, 30.0]), "one", SIZE)
    made["value"] |= changes.pop("value", {})
    return made | changes


def without(side: str) -> dict[str, Any]:
    made = rectangle()
    del made["value"][side]
    return made


@st.composite
def coco_boxes(draw: st.DrawFn) -> tuple[np.ndarray, int, int]:
    """Boxes [x, y, w, h] (n, 4) px inside an image, of at least a millionth of its side."""
    width, height = draw(st.integers(1, 20_000)), draw(st.integers(1, 20_000))
    rows = []
    for _ in range(draw(st.integers(0, 4))):
        x, y = draw(st.floats(0, width * 0.999)), draw(st.floats(0, height * 0.999))
        rows.append(
            (x, y, draw(st.floats(width * 1e-6, width - x)), draw(st.floats(height * 1e-6, height - y)))
        )
    return np.array(rows, dtype=np.float64).reshape(-1, 4), width, height


@pytest.mark.integration
@given(coco_boxes())
def test_coco_boxes_come_back_within_a_millionth_of_a_pixel(case: tuple[np.ndarray, int, int]) -> None:
    """300 examples; with --hypothesis-profile=thorough, 100,000."""
    xywh, width, height = case
    labels = np.arange(len(xywh)) % 2
    corners = np.hstack([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]])
    boxes = Boxes(corners, labels, np.full(len(xywh), 0.5))
    sent = to_prediction(outgoing(boxes, width, height), CLASSES, "m")
    back = from_result(json.loads(json.dumps(sent["result"])), ImageSize(width, height), CLASSES)
    found = np.hstack([back.xyxy[:, :2], back.xyxy[:, 2:] - back.xyxy[:, :2]])
    np.testing.assert_allclose(found, xywh, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(back.labels, labels)
    assert back.scores is None


def test_percent_is_of_width_and_of_height() -> None:
    assert rectangle()["value"] == {
        "x": 10.0, "y": 10.0, "width": 20.0, "height": 20.0, "rotation": 0, "rectanglelabels": ["one"]
    }  # fmt: skip


def test_rotated_box_becomes_the_hull_of_its_corners() -> None:
    # 40 x 20 px at (100, 50), a quarter turn clockwise about its top-left corner: 20 px to the left of
    # it and 40 px down, on an image that is not square.
    turned = rectangle(value={"x": 50.0, "y": 50.0, "width": 20.0, "height": 20.0, "rotation": 90.0})
    back = from_result([turned], SIZE, CLASSES)
    np.testing.assert_allclose(back.xyxy, [[80.0, 50.0, 100.0, 90.0]], atol=1e-9)


def test_rotated_box_by_45_degrees_and_clipped() -> None:
    turned = rectangle(value={"x": 50.0, "y": 0.0, "width": 10.0, "height": 20.0, "rotation": 45.0})
    half = 20.0 * math.sqrt(0.5)  # a square of 20 px: its diagonal spans 2 * half
    back = from_result([turned], SIZE, CLASSES)
    np.testing.assert_allclose(back.xyxy, [[100 - half, 0.0, 100 + half, 2 * half]], atol=1e-9)
    low = from_result([rectangle(value={"y": 95.0, "height": 10.0})], SIZE, CLASSES)
    np.testing.assert_allclose(low.xyxy[0, [1, 3]], [95.0, 100.0])


@pytest.mark.parametrize(
    ("item", "says"),
    [
        (rectangle(image_rotation=90), "rotated by 90"),
        (rectangle(original_width=100, original_height=200), "EXIF"),
        (rectangle(original_width=201), "201x100 pixels, the workspace has 200x100"),
        (rectangle(value={"rectanglelabels": ["three"]}), "'three' is not one of the workspace's classes"),
        (rectangle(value={"rectanglelabels": []}), "exactly one label"),
        (rectangle(value={"rectanglelabels": ["one", "two"]}), "exactly one label"),
        (rectangle(value={"x": float("nan")}), "Expected `float` >= -1000000.0 - at `$.x`. Draw it again"),
        (rectangle(value={"width": float("inf")}), "Expected `float` <= 1000000.0 - at `$.width`"),
        (rectangle(value={"x": "wide"}), "Expected `float`, got `str` - at `$.x`"),
        (rectangle(value={"x": None}), "Expected `float`, got `null` - at `$.x`"),
        (without("x"), "missing required field `x`"),
        (without("y"), "missing required field `y`"),
        (rectangle(value={"width": 0.0}), "Expected `float` > 0.0 - at `$.width`"),
        (rectangle(value={"height": -3.0}), "Expected `float` > 0.0 - at `$.height`"),
        (rectangle(value={"x": 101.0}), "no area inside the image"),
        (rectangle(type="polygonlabels"), "polygonlabels"),
        (rectangle(value={}) | {"value": None}, "Expected `object`, got `null` - at `$[1].value`"),
    ],
)  # fmt: skip
def test_what_needs_a_guess_is_refused_with_one_sentence(item: dict[str, Any], says: str) -> None:
    with pytest.raises(RefusedResultError) as caught:
        from_result([rectangle(), item], SIZE, CLASSES)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


WRONG: list[Any] = [None, True, 7, 1.5, "x", [], ["x"], [["x"]], {}, {"x": {"y": 1}}, float("nan"), 10**400]


@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_whatever_a_region_holds_is_a_refusal_or_boxes(wrong: Any) -> None:
    """Another exception would stop all tasks."""
    fields = ["id", "type", "to_name", "value", "original_width", "original_height", "image_rotation"]
    sides = ["x", "y", "width", "height", "rotation", "rectanglelabels"]
    items = [wrong, *(rectangle() | {name: wrong} for name in fields)]
    items += [rectangle(value={name: wrong}) for name in sides]
    for item in items:
        with suppress(RefusedResultError):
            from_result([item], SIZE, CLASSES)
    if wrong != []:
        with pytest.raises(RefusedResultError):
            from_result(wrong, SIZE, CLASSES)


SIMPLE = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
JSON = SIMPLE | st.lists(SIMPLE, max_size=2) | st.dictionaries(st.sampled_from("xy"), SIMPLE, max_size=2)


@pytest.mark.integration
@given(st.data())
def test_any_json_in_the_place_of_any_part(data: st.DataObject) -> None:
    """Any JSON gives boxes or a refusal."""
    kind = data.draw(st.sampled_from(["rectanglelabels", "polygonlabels", "brushlabels"]))
    item = rectangle(type=kind) | {
        "value": {"points": [[1, 1], [9, 1], [9, 9]], "rle": [0] * 9, kind: ["one"]}
    }
    part = item if data.draw(st.booleans()) else item["value"]
    part[data.draw(st.sampled_from(sorted(part)))] = data.draw(JSON)
    for result in ([item], data.draw(JSON)):
        with suppress(RefusedResultError):
            from_result(result, SIZE, CLASSES, drawn="outlines")
            count_edits([data.draw(JSON), item, rectangle()], result, SIZE)  # type: ignore[arg-type]


def test_more_boxes_than_a_person_draws_are_refused_at_once() -> None:
    with pytest.raises(RefusedResultError, match="100000 regions on one image, expected at most 5000"):
        from_result([rectangle()] * 100_000, SIZE, CLASSES)
    assert len(from_result([rectangle()] * 5_000, SIZE, CLASSES)) == 5_000


def test_coordinates_beyond_arithmetic_are_refused() -> None:
    for value in (1e308, -1e308, 10**400, 2e6):
        with pytest.raises(RefusedResultError, match=r"Expected `float`|Number out of range"):
            from_result([rectangle(value={"x": value})], SIZE, CLASSES)


def test_relations_between_boxes_are_no_boxes() -> None:
    assert len(from_result([rectangle(), {"type": "relation"}], SIZE, CLASSES)) == 1
    assert len(from_result([], SIZE, CLASSES)) == 0


def test_predictions_are_clipped_and_empty_ones_left_out() -> None:
    boxes = Boxes(
        np.array([[-10.0, -5.0, 20.0, 50.0], [250.0, 0.0, 300.0, 50.0]]),
        np.array([0, 1]),
        np.array([0.5, 0.9]),
    )
    sent = to_prediction(outgoing(boxes), CLASSES, "m7")
    assert (sent["model_version"], sent["score"], len(sent["result"])) == ("m7", 0.5, 1)
    assert sent["result"][0]["value"] | {"rectanglelabels": None} == {
        "x": 0.0, "y": 0.0, "width": 10.0, "height": 50.0, "rotation": 0, "rectanglelabels": None
    }  # fmt: skip


@pytest.mark.parametrize(
    ("label", "score", "says"),
    [(2, 0.5, "label 2"), (-1, 0.5, "label -1"), (0, 1.5, "score 1.5"), (0, float("nan"), "score nan")],
)
def test_invalid_predictions_are_not_sent(label: int, score: float, says: str) -> None:
    boxes = Boxes(np.array([[1.0, 1.0, 5.0, 5.0]]), np.array([label]), np.array([score]))
    with pytest.raises(LabelStudioError, match=says):
        to_prediction(outgoing(boxes), CLASSES, "m")


def test_edits_are_counted_by_region() -> None:
    before = [rectangle(id=name) for name in "abcde"]
    after = [
        rectangle(id="a"),
        rectangle(id="b", value={"x": 11.0}),
        rectangle(id="c", value={"x": 11.0, "width": 30.0}),
        rectangle(id="d", value={"rectanglelabels": ["two"]}),
        rectangle(id="new"),
    ]
    counted = count_edits(before, after, SIZE)
    assert counted == Edits(kept=1, moved=1, resized=1, relabelled=1, deleted=1, added=1)


def test_the_annotator_moves_relabels_deletes_and_adds() -> None:
    near, far = np.array([22.0, 11.0, 62.0, 31.0]), np.array([150.0, 50.0, 180.0, 90.0])
    proposed = [
        region("good", np.array([20.0, 10.0, 60.0, 30.0]), "one", SIZE) | {"score": 0.9},
        region("false", np.array([100.0, 0.0, 120.0, 20.0]), "one", SIZE) | {"score": 0.8},
    ]
    left = correct(proposed, Boxes(np.stack([near, far]), np.array([1, 0])), SIZE, CLASSES)
    assert [one["origin"] for one in left] == ["prediction-changed", "manual"]
    assert left[0]["id"] == "good"
    back = from_result(left, SIZE, CLASSES)
    np.testing.assert_allclose(back.xyxy, np.stack([near, far]), atol=1e-9)
    np.testing.assert_array_equal(back.labels, [1, 0])
    assert correct(proposed, Boxes(), SIZE, CLASSES) == []


def test_labelling_config_carries_any_class_name() -> None:
    names = ["a&b", '<q">', "größe", *map(str, range(30))]
    config = labelling_config(names)
    assert read_labels(config) == {"label": names}
    assert 'hotkey="1"' in config
    check_labels(1, config, names)
    with pytest.raises(LabelStudioError, match="distinct classes"):
        labelling_config(["a", "a"])


def test_changed_labels_are_explained() -> None:
    with pytest.raises(LabelStudioError, match=r"(?s)missing there: two; unknown here: three.*new-project"):
        check_labels(4, labelling_config(["one", "three"]), CLASSES)
    with pytest.raises(LabelStudioError, match="config was replaced"):
        check_labels(4, "<View/>", CLASSES)
