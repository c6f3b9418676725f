"""AP from stored matches equals pycocotools', on whole and resampled sets; intervals of differences."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from al_loop.evaluation import evaluate
from al_loop.evaluation.bootstrap import AREAS, IOUS, ClassMatches, average_precision, compare
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import ImageFile, LabelledImage

CLASSES = ("bolt", "nut", "cap")


def boxes(rng: np.random.Generator, count: int, near: Boxes | None = None) -> Boxes:
    """Random boxes of all three sizes, about half of them near true ones."""
    low, side = rng.uniform(0, 300, (count, 2)), rng.uniform(8, 150, (count, 2))
    xyxy, labels = np.concatenate([low, low + side], axis=1), rng.integers(0, 2, count)
    if near is None:
        return Boxes(xyxy, labels)
    for row in range(min(len(near), count)):
        if rng.random() < 0.7:
            xyxy[row] = near.xyxy[row] + rng.normal(0, 3, 4)
            labels[row] = near.labels[row]
    # Equal scores only in different images: within an image, also one drawn twice, their order is arbitrary.
    return Boxes(xyxy, labels, (1 + rng.permutation(20)[:count]) / 20)


def sets(seed: int, images: int = 12) -> tuple[list[LabelledImage], dict[str, Boxes]]:
    rng = np.random.default_rng(seed)
    truth = [
        LabelledImage(ImageFile(f"i{n:02d}", Path("x"), 500, 500), boxes(rng, int(rng.integers(0, 5))))
        for n in range(images)
    ]
    predicted = {item.image.id: boxes(rng, int(rng.integers(0, 7)), item.boxes) for item in truth}
    return truth, predicted


def by_pycocotools(truth: list[LabelledImage], predicted: dict[str, Boxes]) -> np.ndarray:
    """(areas, classes, IoUs), nan where COCO has -1."""
    precision = evaluate._precision(truth, predicted, CLASSES)[..., 2]
    ap = precision.mean(axis=1).transpose(2, 1, 0)
    return np.where(ap < 0, np.nan, ap)


@pytest.mark.integration
@pytest.mark.parametrize("seed", range(4))
def test_ap_of_the_whole_set_and_of_resamples_equals_pycocotools(seed: int) -> None:
    truth, predicted = sets(seed)
    matches = evaluate.match(truth, predicted, CLASSES)
    rng = np.random.default_rng(seed)
    weights = np.concatenate([np.ones((1, 12), int), rng.multinomial(12, np.full(12, 1 / 12), size=3)])
    ours = np.stack([average_precision(matches, weights.astype(float), a) for a in range(len(AREAS))])
    for row, times in enumerate(weights):
        # An image that was drawn twice is two images.
        drawn = [
            replace(truth[n], image=replace(truth[n].image, id=f"{truth[n].image.id}-{copy}"))
            for n in range(12)
            for copy in range(times[n])
        ]
        copies = {item.image.id: predicted[item.image.id.partition("-")[0]] for item in drawn}
        np.testing.assert_allclose(ours[:, row], by_pycocotools(drawn, copies), atol=1e-12)


def test_a_model_without_a_box_has_no_precision() -> None:
    truth, predicted = sets(0)
    nothing = evaluate.match(truth, {}, CLASSES)
    assert np.nanmax(average_precision(nothing, np.ones((1, 12)))) == 0
    comparison = compare(nothing, evaluate.match(truth, predicted, CLASSES), CLASSES, resamples=200)
    assert comparison.ap.value < 0
    assert comparison.ap.high < 0


def test_a_model_does_not_differ_from_itself() -> None:
    truth, predicted = sets(1)
    same = evaluate.match(truth, predicted, CLASSES)
    comparison = compare(same, same, CLASSES, resamples=50)
    assert (comparison.ap.value, comparison.ap.low, comparison.ap.high) == (0, 0, 0)
    # No image has the third class.
    assert set(comparison.per_class) == {"bolt", "nut"}
    assert set(comparison.by_area) == {"small", "medium", "large"}
    assert (comparison.images, comparison.resamples) == (12, 50)


@pytest.mark.integration
def test_differences_equal_those_of_the_metrics_and_lie_in_their_intervals() -> None:
    truth, predicted = sets(2, images=40)
    worse = {
        name: Boxes(b.xyxy[1:], b.labels[1:], b.scores[1:])
        for name, b in predicted.items()
        if b.scores is not None
    }
    better, poorer = (evaluate.evaluate(truth, p, CLASSES) for p in (predicted, worse))
    matches = [evaluate.match(truth, p, CLASSES) for p in (predicted, worse)]
    comparison = compare(*matches, CLASSES, resamples=100)
    assert comparison.ap.value == pytest.approx(better.ap - poorer.ap)
    assert comparison.ap50.value == pytest.approx(better.ap50 - poorer.ap50)
    for name in ("bolt", "nut"):
        assert comparison.per_class[name].value == pytest.approx(
            (better.per_class[name] or 0) - (poorer.per_class[name] or 0)
        )
    assert comparison.ap.low <= comparison.ap.value <= comparison.ap.high
    assert comparison.ap.low < comparison.ap.high
    assert str(comparison.ap).startswith(f"{comparison.ap.value:+.3f} (95 % interval ")
    assert compare(*matches, CLASSES, resamples=100) == comparison


@pytest.mark.integration
def test_an_interval_has_about_its_nominal_coverage() -> None:
    """A detector that finds a box with probability 0.6 and never errs, against 0.5: AP50 differs by 0.1."""
    images, boxes_each = 60, 2

    def found_by_chance(rng: np.random.Generator, chance: float) -> list[ClassMatches]:
        image = np.repeat(np.arange(images), rng.binomial(boxes_each, chance, images))
        hit = np.zeros((len(AREAS), IOUS, len(image)), dtype=bool)
        truth = np.zeros((len(AREAS), images), np.int64)
        hit[0, 0], truth[0] = True, boxes_each  # all areas, IoU 0.50
        return [ClassMatches(image, np.ones(len(image)), hit, np.zeros_like(hit), truth)]

    inside = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        pair = [found_by_chance(rng, chance) for chance in (0.6, 0.5)]
        ap50 = compare(*pair, CLASSES[:1], resamples=200, seed=seed).ap50
        inside += ap50.low <= 0.1 <= ap50.high
    # Of 60 intervals at 95 %, fewer than 51 have a probability of seven in ten thousand.
    assert inside >= 51
