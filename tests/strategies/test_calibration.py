"""The chance that a box is right: by hand, from boxes of known chances, and where it cannot be told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.random import default_rng

from strategies import Calibration, Evidence, calibrate
from strategies.calibration import logit


def observed(m: int, slope: float, offsets: list[float], seed: int = 0) -> Evidence:
    """Boxes of two classes in 40 images, right with the chance of a logistic in the logit of the score."""
    rng = default_rng(seed)
    labels, scores = rng.integers(0, len(offsets), m), rng.uniform(0.05, 0.99, m)
    chances = 1 / (1 + np.exp(-slope * logit(scores) - np.asarray(offsets)[labels]))
    return Evidence(rng.integers(0, 40, m), labels, scores, rng.uniform(size=m) < chances, np.zeros(40))


def test_the_logit_of_a_score() -> None:
    np.testing.assert_allclose(logit(np.array([0.5, 0.75])), [0, np.log(3)])
    assert np.isfinite(logit(np.array([0.0, 1.0]))).all()


def test_chances_by_hand() -> None:
    """With slope 2 a score of 0.75 has odds of 9; the offset ln 2 of class 1 doubles them."""
    calibration = Calibration(2.0, (0.0, float(np.log(2))), 0.9, 0.25, 0.5)
    chances = calibration.chances(np.array([0, 1, 0]), np.array([0.75, 0.75, 0.5]))
    np.testing.assert_allclose(chances, [9 / 10, 18 / 19, 1 / 2])
    np.testing.assert_allclose(calibration.missed(np.array([0.0, 4.0])), [0.25, 2.25])


def test_the_scores_of_a_chance_by_hand() -> None:
    """As above, a score of 0.75 has a chance of 9 / 10 in class 0, and of 18 / 19 in class 1."""
    calibration = Calibration(2.0, (0.0, float(np.log(2))), 0.9, 0.0, 0.0)
    np.testing.assert_allclose(calibration.least_scores(9 / 10)[0], 0.75)
    np.testing.assert_allclose(calibration.least_scores(18 / 19)[1], 0.75)
    for label, score in enumerate(calibration.least_scores(2 / 7)):
        assert calibration.chances(np.array([label]), np.array([score])) == pytest.approx(2 / 7)


def test_what_scores_are_useful() -> None:
    assert Calibration(1.0, (0.0,), 0.65, 0.0, 0.0).is_useful
    assert not Calibration(1.0, (0.0,), 0.64, 0.0, 0.0).is_useful
    assert not Calibration(-0.1, (0.0,), 0.9, 0.0, 0.0).is_useful


def test_many_boxes_give_the_chances_that_made_them() -> None:
    found = calibrate(observed(20_000, 1.5, [-1.0, 1.0]), 2)
    assert found is not None
    assert found.slope == pytest.approx(1.5, abs=0.05)
    np.testing.assert_allclose(found.offsets, [-1, 1], atol=0.08)
    assert 0.85 < found.auc < 0.95


def test_a_rare_class_shrinks_towards_the_others() -> None:
    """300 boxes of class 0 are right by half; n of class 1 are all wrong; of class 2 there are none."""

    def offsets(n: int) -> tuple[float, ...]:
        labels = np.repeat([0, 1], [300, n])
        right = np.concatenate([np.arange(300) % 2 == 0, np.zeros(n, bool)])
        scores = np.full(300 + n, 0.5)
        found = calibrate(Evidence(np.arange(300 + n) % 60, labels, scores, right, np.zeros(60)), 3)
        assert found is not None
        return found.offsets

    few, more, many = offsets(2), offsets(10), offsets(300)
    assert -0.6 < few[1] < -0.1
    assert many[1] < more[1] < few[1]
    for each in (few, more):
        assert each[0] == pytest.approx(0, abs=0.15)
        assert each[1] < each[2] <= each[0] + 0.15  # nothing is known of class 2: the common offset


def test_missed_objects_grow_with_the_objects_that_are_found() -> None:
    """One object is missed in each image, and one more for two that are found."""
    image = np.repeat(np.arange(40), np.arange(40) % 5 + 1)
    right = default_rng(0).uniform(size=len(image)) < 0.5
    some = Evidence(image, np.zeros(len(image), np.int64), np.full(len(image), 0.5), right, np.zeros(40))
    expected = np.bincount(image) * right.mean()
    found = calibrate(replace(some, missed=1 + expected / 2), 1)
    assert found is not None
    assert found.missed_per_image == pytest.approx(1, abs=0.01)
    assert found.missed_per_object == pytest.approx(0.5, abs=0.01)
    none = calibrate(some, 1)
    assert none is not None
    assert (none.missed_per_image, none.missed_per_object) == (0, 0)


def test_scores_that_say_nothing_have_an_auc_of_a_half() -> None:
    found = calibrate(observed(4000, 0.0, [0.0, 0.0]), 2)
    assert found is not None
    assert found.auc == pytest.approx(0.5, abs=0.05)


def test_what_cannot_be_learnt() -> None:
    some = observed(200, 1.0, [0.0, 0.0])
    for right in (np.ones(200, bool), np.zeros(200, bool)):
        assert calibrate(replace(some, right=right), 2) is None
    nothing = Evidence(
        np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros(0, bool), np.zeros(3)
    )
    assert calibrate(nothing, 2) is None
    in_one_image = replace(some, image=np.zeros(200, np.int64))
    assert calibrate(in_one_image, 2) is None
