"""AP from stored matches is pycocotools', whole and resampled; intervals of differences."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from al_loop.evaluation import evaluate
from al_loop.evaluation.bootstrap import AREAS, average_precision, compare
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
    # Equal scores in different images. Within one their order is chance, and so is that of an image drawn twice.
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
    """(areas, classes, IoUs), nan for what COCO marks with -1."""
    precision = evaluate._precision(truth, predicted, CLASSES)[..., 2]
    found = precision.mean(axis=1).transpose(2, 1, 0)
    return np.where(found < 0, np.nan, found)


@pytest.mark.parametrize("seed", range(4))
def test_the_whole_set_and_any_resample_are_as_pycocotools_says(seed: int) -> None:
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
        seen = {item.image.id: predicted[item.image.id.partition("-")[0]] for item in drawn}
        np.testing.assert_allclose(ours[:, row], by_pycocotools(drawn, seen), atol=1e-12)


def test_a_model_without_a_box_has_no_precision() -> None:
    truth, predicted = sets(0)
    nothing = evaluate.match(truth, {}, CLASSES)
    assert np.nanmax(average_precision(nothing, np.ones((1, 12)))) == 0
    found = compare(nothing, evaluate.match(truth, predicted, CLASSES), CLASSES, resamples=200)
    assert found.ap.value < 0
    assert found.ap.high < 0


def test_a_model_against_itself_differs_by_nothing() -> None:
    truth, predicted = sets(1)
    same = evaluate.match(truth, predicted, CLASSES)
    found = compare(same, same, CLASSES, resamples=50)
    assert (found.ap.value, found.ap.low, found.ap.high) == (0, 0, 0)
    # The third class is on no image, so nothing is said of it.
    assert set(found.per_class) == {"bolt", "nut"}
    assert set(found.by_area) == {"small", "medium", "large"}
    assert (found.images, found.resamples) == (12, 50)


def test_differences_are_those_of_the_metrics_and_lie_within_their_intervals() -> None:
    truth, predicted = sets(2, images=40)
    worse = {
        name: Boxes(b.xyxy[1:], b.labels[1:], b.scores[1:])
        for name, b in predicted.items()
        if b.scores is not None
    }
    better, poorer = (evaluate.evaluate(truth, p, CLASSES) for p in (predicted, worse))
    found = compare(
        evaluate.match(truth, predicted, CLASSES),
        evaluate.match(truth, worse, CLASSES),
        CLASSES,
        resamples=400,
    )
    assert found.ap.value == pytest.approx(better.ap - poorer.ap)
    assert found.ap50.value == pytest.approx(better.ap50 - poorer.ap50)
    for name in ("bolt", "nut"):
        assert found.per_class[name].value == pytest.approx(
            (better.per_class[name] or 0) - (poorer.per_class[name] or 0)
        )
    assert found.ap.low <= found.ap.value <= found.ap.high
    assert found.ap.low < found.ap.high
    assert str(found.ap).startswith(f"{found.ap.value:+.3f} (95 % interval ")
    again = compare(
        evaluate.match(truth, predicted, CLASSES),
        evaluate.match(truth, worse, CLASSES),
        CLASSES,
        resamples=400,
    )
    assert again == found


def test_an_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """A detector that finds a box with a chance of 0.6 and never errs, against one with 0.5: AP50 differs by 0.1."""

    def found_by_chance(
        rng: np.random.Generator, truth: list[LabelledImage], chance: float
    ) -> dict[str, Boxes]:
        seen = {}
        for item in truth:
            kept = rng.random(len(item.boxes)) < chance
            seen[item.image.id] = Boxes(
                item.boxes.xyxy[kept], item.boxes.labels[kept], np.ones(int(kept.sum()))
            )
        return seen

    inside = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        truth = [
            LabelledImage(
                ImageFile(str(n), Path("x"), 500, 500),
                Boxes(np.array([[0.0, 0, 50, 50], [100, 100, 150, 150]]), np.zeros(2, np.int64)),
            )
            for n in range(60)
        ]
        pair = [evaluate.match(truth, found_by_chance(rng, truth, c), CLASSES[:1]) for c in (0.6, 0.5)]
        one = compare(*pair, CLASSES[:1], resamples=200, seed=seed)
        inside += one.ap50.low <= 0.1 <= one.ap50.high
    # Of 60 at 95 %, fewer than 51 come by chance once in ten thousand times.
    assert inside >= 51
