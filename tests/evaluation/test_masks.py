"""AP of masks equals pycocotools', called directly; pixels, images and differences by hand."""

from __future__ import annotations

import contextlib
import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from support.outlined_sets import boxes, image, polygon, random_set, shape

from al_loop.evaluation import bootstrap
from al_loop.evaluation.evaluate import average_precision, evaluate, match
from al_loop.evaluation.image_level import count_images, evaluate_images
from al_loop.evaluation.measure import compares_masks, differ, key_value, measure
from al_loop.evaluation.pixel_overlap import count_pixels
from al_loop.structures import segmentation
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import LabelledImage
from al_loop.structures.metrics import Estimate, metrics_from_plain, metrics_to_plain

CLASSES = ("scratch", "dent")
QUICK = {"outlined": True, "intervals": False}
FEW = {"outlined": True, "resamples": 50}
ALONE = np.ones((1, 1))


def by_pycocotools(truth: list[LabelledImage], predicted: dict[str, Boxes]) -> Any:
    """Return the COCOeval of masks, from a dataset that this test writes itself."""
    annotations, results = [], []
    for number, item in enumerate(truth, start=1):
        outlines = item.boxes.outlines or (None,) * len(item.boxes)
        rows = zip(item.boxes.xyxy.tolist(), item.boxes.labels.tolist(), outlines, strict=True)
        for (x1, y1, x2, y2), label, outline in rows:
            shown = outline or polygon(x1, y1, x2, y2)
            area = segmentation.pixels(shown, item.image.width, item.image.height).sum()
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": label + 1,
                    "segmentation": shown,
                    "area": int(area),
                    "iscrowd": int(outline is None),
                }
            )
        found = predicted[item.image.id]
        scores = [] if found.scores is None else found.scores.tolist()
        for label, score, outline in zip(found.labels, scores, found.outlines or (), strict=True):
            entry = {"image_id": number, "category_id": int(label) + 1, "segmentation": outline}
            results.append({**entry, "score": score})
    images = [
        {"id": n, "width": i.image.width, "height": i.image.height} for n, i in enumerate(truth, start=1)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        ground = COCO()
        ground.dataset = {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": n, "name": name} for n, name in enumerate(CLASSES, start=1)],
        }
        ground.createIndex()
        run = COCOeval(ground, ground.loadRes(results), "segm")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run


@pytest.mark.integration
@pytest.mark.parametrize("seed", range(3))
def test_mask_ap_is_that_of_pycocotools(seed: int) -> None:
    truth, predicted = random_set(seed)
    assert any(item.boxes.outlines and None in item.boxes.outlines for item in truth)
    run = by_pycocotools(truth, predicted)
    found = average_precision(truth, predicted, CLASSES, "segm")
    assert [found.ap, found.ap50, found.ap75] == pytest.approx(run.stats[:3].tolist(), abs=1e-12)
    assert 0 < found.ap < 1
    for label, name in enumerate(CLASSES):
        precision = run.eval["precision"][:, :, label, 0, 2]
        assert found.per_class[name] == pytest.approx(precision[precision > -1].mean())
    # From the matches of which resamples are computed, too.
    matches = match(truth, predicted, CLASSES, "segm")
    ap = bootstrap.average_precision(matches, np.ones((1, len(truth))))
    assert bootstrap.finite_mean(ap, (1, 2))[0] == pytest.approx(found.ap)
    metrics = measure(truth, predicted, CLASSES, **QUICK)
    assert metrics.masks is not None
    assert (metrics.masks.ap, metrics.masks.per_class) == (found.ap, found.per_class)


@pytest.mark.integration
def test_boxes_are_measured_as_without_outlines() -> None:
    truth, predicted = random_set(0)
    plain = [
        replace(item, boxes=Boxes(item.boxes.xyxy, item.boxes.labels, item.boxes.scores)) for item in truth
    ]
    metrics = measure(truth, predicted, CLASSES, outlined=True)
    assert metrics.masks is not None
    assert (metrics.masks.low or 1) <= metrics.masks.ap <= (metrics.masks.high or 0)
    assert replace(metrics, masks=None, image_level=None) == measure(
        plain, predicted, CLASSES, outlined=False
    )
    assert evaluate(truth, predicted, CLASSES) == replace(
        metrics, low=None, high=None, masks=None, image_level=None
    )


def test_masks_by_hand() -> None:
    """Both masks are 4 of 8 px, IoU 4 / 8 = 0.5: found at one of the ten thresholds."""
    true = segmentation.mask(shape("###.", "###.", "....", "...."))
    half = segmentation.mask(shape("##..", "##..", "##..", "...."))
    truth = [image("a", boxes((true, 0)), size=4)]
    found = average_precision(truth, {"a": boxes((half, 0, 0.9))}, CLASSES, "segm")
    assert (found.ap, found.ap50, found.ap75) == pytest.approx((0.1, 1, 0))
    assert found.per_class == {"scratch": pytest.approx(0.1), "dent": None}


def test_a_label_without_an_outline_is_an_ignore_region_of_its_class() -> None:
    """One prediction is right, one lies in the region of its class, one in that of another class."""
    square, inside = polygon(0, 0, 5, 5), polygon(11, 11, 15, 15)
    region = (10.0, 10.0, 18.0, 18.0)
    truth = [image("a", boxes((square, 0), (None, 0), box=region))]
    right, ignored, false = (square, 0, 0.6), (inside, 0, 0.9), (inside, 1, 0.8)
    assert average_precision(truth, {"a": boxes(right, ignored)}, CLASSES, "segm").ap == pytest.approx(1)
    # As a label of boxes it is missed: AP 51 of 101 recall levels, at recall 0 to 0.5.
    plain = Boxes(truth[0].boxes.xyxy, truth[0].boxes.labels)
    boxed = [replace(truth[0], boxes=plain)]
    assert evaluate(boxed, {"a": boxes(right)}, CLASSES).ap == pytest.approx(51 / 101)
    other = [replace(truth[0], boxes=boxes((square, 0), (None, 1), box=region))]
    assert average_precision(other, {"a": boxes(right, ignored)}, CLASSES, "segm").ap == pytest.approx(0.5)
    assert average_precision(other, {"a": boxes(right, false)}, CLASSES, "segm").ap == pytest.approx(1)


def test_a_prediction_without_a_mask_is_wrong() -> None:
    square = polygon(0, 0, 5, 5)
    truth = [image("a", boxes((square, 0)))]
    predicted = {"a": boxes((None, 0, 0.9), (square, 0, 0.5), box=(0, 0, 5, 5))}
    # The second of two is right: precision 1/2 at all levels.
    assert average_precision(truth, predicted, CLASSES, "segm").ap == pytest.approx(0.5)
    assert evaluate(truth, predicted, CLASSES).ap == pytest.approx(1)


def test_iou_and_dice_of_pixels_by_hand() -> None:
    """Image a: 6 true px, 6 found, 4 of both. Image b: 4 true px, all found, and 2 more found."""
    first = image("a", boxes((segmentation.mask(shape("###.", "###.", "....", "....")), 0)), size=4)
    second = image("b", boxes((segmentation.mask(shape("####", "....", "....", "....")), 0)), size=4)
    predicted = {
        "a": boxes((segmentation.mask(shape("##..", "##..", "##..", "....")), 0, 0.7)),
        "b": boxes((segmentation.mask(shape("####", "##..", "....", "....")), 0, 0.7)),
    }
    counts = count_pixels([first, second], predicted, len(CLASSES), 0.5)
    assert counts.both[:, 0].tolist() == [4, 4]
    assert counts.false[:, 0].tolist() == [2, 2]
    assert counts.missed[:, 0].tolist() == [2, 0]
    whole = np.ones((1, 2))
    assert counts.iou(whole)[0, 0] == pytest.approx(8 / 14)  # not the mean of 4/8 and 4/6
    assert counts.dice(whole)[0, 0] == pytest.approx(16 / 22)
    assert np.isnan(counts.iou(whole)[0, 1])  # no outline of the class
    assert counts.means(whole)[0] == pytest.approx([8 / 14, 16 / 22])
    # The second image twice, the first not at all.
    assert counts.iou(np.array([[0.0, 2.0]]))[0, 0] == pytest.approx(8 / 12)
    # Below the score threshold nothing is found.
    assert count_pixels([first], predicted, len(CLASSES), 0.8).dice(ALONE)[0, 0] == 0


def test_a_pixel_has_the_class_of_the_highest_score() -> None:
    left, right = (
        segmentation.mask(shape("###.", "....", "....", "....")),
        segmentation.mask(shape(".###", "....", "....", "....")),
    )
    drawn = boxes((left, 0, 0.6), (right, 1, 0.9))
    assert segmentation.class_map(drawn, 4, 4)[0].tolist() == [0, 1, 1, 1]
    assert segmentation.class_map(drawn, 4, 4)[1:].max() == -1
    assert segmentation.class_map(boxes((left, 0, 0.9), (right, 1, 0.6)), 4, 4)[0].tolist() == [0, 0, 0, 1]
    assert segmentation.class_map(boxes((left, 0, 0.6), (right, 1, 0.6)), 4, 4)[0].tolist() == [0, 0, 0, 1]
    truth = [image("a", boxes((left, 0), (right, 1)), size=4)]
    counts = count_pixels(truth, {"a": drawn}, len(CLASSES), 0.5)
    # Two true px of both classes: the model gives them the second.
    assert counts.both.tolist() == [[1, 3]]
    assert counts.missed.tolist() == [[2, 0]]
    assert counts.false.tolist() == [[0, 0]]


def test_pixels_in_ignore_regions_do_not_count_for_their_class() -> None:
    square = polygon(0, 0, 4, 4)
    over = polygon(0, 0, 8, 4)  # 16 px more than the square
    region = (4.0, 0.0, 8.0, 2.0)  # half of these
    predicted = {"a": boxes((over, 0, 0.9))}
    unlabelled = [image("a", boxes((square, 0), (None, 0), box=region))]
    ignored = [image("a", boxes((square, 0)), boxes((None, 0), box=region))]
    other = [image("a", boxes((square, 0)), boxes((None, 1), box=region))]
    for truth, false in ((unlabelled, 8), (ignored, 8), (other, 16)):
        counts = count_pixels(truth, predicted, len(CLASSES), 0.5)
        assert (counts.both[0, 0], counts.false[0, 0], counts.missed[0, 0]) == (16, false, 0)


def test_precision_and_recall_of_images_by_hand() -> None:
    """Scratches on a, b, c; found on a (twice), b and d; a dent is found on no image, and is on a."""
    square = polygon(0, 0, 4, 4)
    truth = [
        image("a", boxes((square, 0), (square, 0), (square, 1))),
        image("b", boxes((None, 0))),
        image("c", boxes((square, 0))),
        image("d", Boxes()),
        image("e", Boxes(), boxes((None, 0))),
        image("f", Boxes()),
    ]
    found = boxes((square, 0, 0.9), (polygon(9, 9, 15, 15), 0, 0.6))
    weak = boxes((square, 0, 0.4))
    predicted = {"a": found, "b": found, "c": weak, "d": found, "e": found}
    level = evaluate_images(truth, predicted, CLASSES)
    precision, recall = level.precision["scratch"], level.recall["scratch"]
    assert isinstance(precision, Estimate)
    assert isinstance(recall, Estimate)
    assert precision.value == pytest.approx(2 / 3)  # e is unknown
    assert recall.value == pytest.approx(2 / 3)
    assert precision.low <= precision.value <= precision.high
    assert (level.precision["dent"], level.recall["dent"]) == (None, Estimate(0, 0, 0))
    counts = count_images(truth, predicted, len(CLASSES), score=0.3)
    assert (counts.precision(np.ones((1, 6)))[0, 0], counts.recall(np.ones((1, 6)))[0, 0]) == (0.75, 1)


@pytest.mark.integration
def test_differences_are_those_of_the_metrics() -> None:
    truth, predicted = random_set(1, images=12)
    worse = {name: found.above(0.4) for name, found in predicted.items()}
    better, poorer = (measure(truth, each, CLASSES, **QUICK).masks for each in (predicted, worse))
    difference = differ(truth, predicted, worse, CLASSES, **FEW)
    masks, pixels = difference.of("mask_ap"), difference.pixels
    assert None not in (better, poorer, masks, pixels)
    assert masks.ap.value == pytest.approx(better.ap - poorer.ap)
    assert masks.ap50.value == pytest.approx(better.ap50 - poorer.ap50)
    assert pixels.mean_iou.value == pytest.approx(better.mean_iou.value - poorer.mean_iou.value)
    assert pixels.mean_dice.value == pytest.approx(better.mean_dice.value - poorer.mean_dice.value)
    assert pixels.mean_dice.low <= pixels.mean_dice.value <= pixels.mean_dice.high
    for name in CLASSES:
        assert masks.per_class[name].value == pytest.approx(
            (better.per_class[name] or 0) - (poorer.per_class[name] or 0)
        )
        assert pixels.dice[name].value == pytest.approx((better.dice[name] or 0) - (poorer.dice[name] or 0))
    assert difference.of("box_ap") is difference
    same = differ(truth, predicted, predicted, CLASSES, **FEW)
    assert (same.masks.ap.low, same.masks.ap.high, same.pixels.mean_iou.high) == (0, 0, 0)
    # As for boxes: nothing about masks, neither in the object nor in the file.
    plain = differ(truth, predicted, worse, CLASSES, **FEW | {"outlined": False})
    assert plain == replace(difference, masks=None, pixels=None)
    assert set(plain.plain) == {*difference.plain} - {"masks", "pixels"}
    assert set(difference.plain["masks"]) == set(plain.plain)


def test_early_stopping_and_promotion_use_the_same_number() -> None:
    truth, predicted = random_set(2)
    boxed = {name: Boxes(each.xyxy, each.labels, each.scores) for name, each in predicted.items()}
    plain = [replace(item, boxes=Boxes(item.boxes.xyxy, item.boxes.labels)) for item in truth]
    assert [
        compares_masks(*pair)
        for pair in ((truth, predicted), (truth, boxed), (plain, predicted), (truth, {}))
    ] == [True, False, False, True]
    metrics = measure(truth, predicted, CLASSES, **QUICK)
    assert metrics.masks is not None
    assert key_value(truth, predicted, CLASSES, "mask_ap") == metrics.masks.ap != metrics.ap
    assert key_value(truth, predicted, CLASSES, "box_ap") == metrics.ap
    # Without masks on both sides, boxes count.
    for labels, found in ((truth, boxed), (plain, predicted)):
        assert measure(labels, found, CLASSES, **QUICK).masks is None
        assert key_value(labels, found, CLASSES, "mask_ap") == metrics.ap
    # A model that finds nothing yet.
    nothing = measure(truth, {}, CLASSES, **QUICK)
    assert nothing.masks is not None
    assert (nothing.masks.ap, nothing.masks.mean_dice.value) == (0, 0)
    assert key_value(truth, {}, CLASSES, "mask_ap") == 0


def test_metrics_are_stored_with_masks_only_if_there_are_any() -> None:
    truth, predicted = random_set(3)
    metrics = measure(truth, predicted, CLASSES, **QUICK)
    assert metrics_from_plain(metrics_to_plain(metrics)) == metrics
    plain = metrics_to_plain(measure(truth, predicted, CLASSES, outlined=False, intervals=False))
    assert list(plain) == ["ap", "ap50", "ap75", "per_class", "images", "boxes", "low", "high"]
    assert metrics_from_plain(plain).masks is None


def test_outlines_stay_with_their_boxes() -> None:
    square = polygon(0, 0, 4, 4)
    found = boxes((square, 0, 0.9), (None, 1, 0.2), (polygon(1, 1, 3, 3), 1, 0.4))
    assert found.above(0.3).outlines == (square, polygon(1, 1, 3, 3))
    assert found.take(np.array([False, True, False])).outlines is None
    assert found.outlined.tolist() == [True, False, True]
    assert Boxes().above(0.5).outlines is None
